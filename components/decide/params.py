"""Parameters of decide."""

from pydantic import Field

from fineline.steps.params import StepParams


class Params(StepParams):
    """What is a reason to train again, and what speaks against it."""

    name: str = Field(
        "",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9_. -]{0,199})?$",
        description="The registered model whose champion may be due; '' = what the flag --name says. `fineline retrain` and the "
        "Kubeflow pipeline give register.name.",
    )
    recent: str = Field(
        "",
        description="Recent texts without labels for monitor, in place of its source; '' = nobody looks for drift. Not read "
        "by decide itself.",
        json_schema_extra={"location": True},
    )
    min_new_rows: int = Field(
        500,
        ge=0,
        description="Labelled rows that the champion has neither learned from nor been judged on: so many are a reason. 0 = "
        "never one.",
    )
    on_drift: bool = Field(True, description="Whether drift of the recent texts is a reason.")
    max_age_days: float = Field(
        90.0, ge=0, description="Days since the champion became champion: more are a reason. 0 = never one."
    )
    cooldown_hours: float = Field(
        72.0,
        ge=0,
        description="Hours between the end of one training and the start of the next. Drift and age stay reasons while no "
        "challenger wins; this keeps a nightly trigger from training every night.",
    )
    gpu_hours_per_month: float = Field(
        0.0,
        ge=0,
        description="GPU hours that the trainings of the MLflow experiment may use in a calendar month (UTC); once they are "
        "used, nothing is trained. 0 = no limit.",
    )
    longest_hours: float = Field(
        48.0,
        gt=0,
        description="While one retraining of the model is under way, no second is started. One whose end nobody recorded "
        "counts as dead after so many hours.",
    )
