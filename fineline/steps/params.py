"""Parameters: one pydantic model per step, read from a YAML or JSON file or an inline JSON object."""

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from fineline.kubeflow import delivery
from fineline.process.errors import UsageError
from fineline.rows.settings import known_encoding, one_character, rows_or_share
from fineline.sources.local_place import local_place
from fineline.sources.redaction import redacted


def from_home(place: str) -> str:
    """`place` with the home folder for a `~` before it; as it is where there is none."""
    return os.path.expanduser(place)  # noqa: PTH111  Path would make s3:/ of s3://, and raise for a user that is unknown


class StepParams(BaseModel):
    """Base of every step's parameters: unknown keys are errors, values cannot change, NaN and infinity are refused.

    A field that names a place (a path, a URI) is declared with `json_schema_extra={"location": True}`; `recorded()`
    leaves it out, so that a manifest is the same wherever the step ran. A `~` before it is the home folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    moved: ClassVar[Mapping[str, str]] = {}
    """Parameters that were here once: their names, and what they are called now, such as pin.source."""

    @field_validator("*", mode="after")
    @classmethod
    def _from_home(cls, value: Any, field: ValidationInfo) -> Any:
        extra = cls.model_fields[str(field.field_name)].json_schema_extra
        is_place = isinstance(extra, dict) and extra.get("location")
        return from_home(value) if is_place and isinstance(value, str) else value

    def recorded(self) -> dict[str, Any]:
        """The parameters as a manifest keeps them: JSON values, without the fields that name a place, and without those that came
        later and are what was done before: so what was made then is what it was."""
        fields = type(self).model_fields.items()
        later = {name for name, field in fields if (field.json_schema_extra or {}) == {"recorded": "if given"}}
        as_before = {name for name in later if getattr(self, name) == type(self).model_fields[name].default}
        return self.model_dump(mode="json", exclude={*self.locations(), *as_before})

    def locations(self) -> dict[str, Any]:
        """The values of the fields that name a place."""
        return {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("location")
        }

    def local_places(self) -> dict[str, Path]:
        """The files and folders of this machine that the parameters name, by parameter."""
        return {name: place for name, value in self.locations().items() if (place := local_place(value))}


Encoding = Annotated[str, AfterValidator(known_encoding)]
Mark = Annotated[str, AfterValidator(one_character)]
FromHome = Annotated[str, AfterValidator(from_home)]
"""A place that is recorded otherwise than by its path."""
BadRows = Annotated[float, Field(ge=0), AfterValidator(rows_or_share)]
"""What says how files of rows are read (fineline.reading)."""

Model = TypeVar("Model", bound=StepParams)


def load_params(
    model: type[Model],
    step: str,
    source: str,
    overrides: Mapping[str, str] | None = None,
    from_kubeflow: bool = False,
) -> Model:
    """Reads and validates the parameters of `step`.

    `source` is a path (YAML or JSON, the block named like the step is read) or an inline JSON object (the block itself),
    which `from_kubeflow` is decoded (fineline.kubeflow.delivery); `overrides` replace single parameters.
    Raises UsageError naming every wrong field at once: its name, its value and what is allowed.
    """
    if source.lstrip().startswith("{"):
        block, where = _inline(source), "--params"
        if from_kubeflow:
            block = delivery.decoded(block)
    else:
        block, where = block_of(Path(source), step), source
    flags = {name: f"--{name}" for name in overrides or {}}
    return validate(model, step, {**block, **(overrides or {})}, where, flags)


def validate(
    model: type[Model], step: str, block: dict[str, Any], where: str, elsewhere: Mapping[str, str] | None = None
) -> Model:
    """`block` as the step's model; raises UsageError naming every wrong field at once, and where it was given: `where`, or
    for those of `elsewhere` what it says."""
    try:
        return model.model_validate(block)
    except ValidationError as error:
        items = error.errors()
        places = [(elsewhere or {}).get(str(next(iter(item["loc"]), "")), where) for item in items]
        mixed = len(set(places)) > 1
        lines = [
            f"  {step}.{_explain(item, model)}" + (f" (in {place})" if mixed else "")
            for item, place in zip(items, places, strict=True)
        ]
        count = "1 parameter is wrong" if len(lines) == 1 else f"{len(lines)} parameters are wrong"
        raise UsageError(
            f"{count} in {' and '.join(dict.fromkeys(places))}:\n" + "\n".join(lines),
            "correct them; docs/parameters.md lists every parameter with its range",
        ) from None


def _explain(item: Any, model: type[StepParams]) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden" and (new := model.moved.get(name)):
        return f"{name}: it is {new} now"
    if item["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(item["loc"][-1]), model.model_fields, n=1)
        return f"{name}: unknown parameter" + (f", did you mean {close[0]}?" if close else "")
    if item["type"] == "missing":
        return f"{name}: missing"
    value = item["input"]
    shown = "" if isinstance(value, dict) else f" = {redacted(repr(value))}"
    return f"{name or '(block)'}{shown}: {item['msg'].removeprefix('Value error, ')}"


def _inline(text: str) -> dict[str, Any]:
    try:
        block = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"--params is not valid JSON: {error}", "give a file or a JSON object in quotes") from None
    return block


def block_of(path: Path, step: str) -> dict[str, Any]:
    """The block of `step` in a parameters file, unchecked. Raises UsageError where there is none."""
    if not path.is_file():
        raise UsageError(
            f"parameters file {path} does not exist", "give --params a YAML or JSON file, or a JSON object"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML: {str(error).splitlines()[0]}", "correct the file") from None
    if not isinstance(content, dict) or step not in content:
        raise UsageError(
            f"{path} has no block '{step}'", f"add one; 'python -m components.{step} --help' shows its use"
        )
    block = content[step]
    if block is None:
        return {}
    if not isinstance(block, dict):
        raise UsageError(f"block '{step}' in {path} is not a mapping", "write 'key: value' lines below it")
    return block
