"""The Great Expectations suites, built from the parameters: one over the rows as they come, one over what is left."""

import dataclasses
from typing import TYPE_CHECKING, Any

from components.data_quality.check import Check
from components.data_quality.params import Params
from fineline.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"


@dataclasses.dataclass(frozen=True)
class Asked:
    """A check of rows: broken by a row that breaks one of the `expectations`."""

    name: str
    severity: str
    says: str
    expectations: list[Any]


def check_rows(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """Text present, its length, label set, unique ids, characters, the user's patterns: each names the rows that break it."""
    required = [field.name for field in task.fields() if not field.nullable]
    wanted = [*_always_asked(params, required), *_asked_by_the_user(params)]
    asked = [item for item in wanted if item.severity != "ignore"]
    frame = _frame(rows, task, required, params.labels)
    results = iter(_validate(frame, [expectation for item in asked for expectation in item.expectations]))
    checks = []
    for item in asked:
        found = [entry for _ in item.expectations for entry in next(results)["unexpected_index_list"]]
        broken = sorted({int(entry["row"]) for entry in found})
        checks.append(Check(item.name, item.severity, item.says, not broken, len(broken), 0, broken))
    return rows.assign(text=rows["text"].fillna("")), checks


def _always_asked(params: Params, required: list[str]) -> list[Asked]:
    from great_expectations import expectations as gxe

    present, kept = gxe.ExpectColumnValuesToNotBeNull, gxe.ExpectColumnValuesToNotMatchRegex
    shortest, longest = params.min_characters, params.max_characters
    return [
        Asked("missing_text", params.on_missing_text, "the text is there", [present(column="text")]),
        Asked(
            "missing_label", params.on_missing_label, "the label is there", [present(column=name) for name in required]
        ),
        Asked(
            "text_length",
            params.on_text_length,
            f"the text has {shortest:,} to {longest:,} characters",
            [gxe.ExpectColumnValueLengthsToBeBetween(column="text", min_value=shortest, max_value=longest)],
        ),
        Asked(
            "repeated_id",
            params.on_repeated_id,
            "no two rows have the same id",
            [gxe.ExpectColumnValuesToBeUnique(column="id")],
        ),
        Asked(
            "control_characters",
            params.on_control_characters,
            "no control characters but tab and line ends",
            [kept(column="text", regex=_CONTROL)],
        ),
        Asked(
            "replacement_characters",
            params.on_replacement_characters,
            "no character was lost in decoding (U+FFFD)",
            [kept(column="text", regex="\ufffd")],
        ),
    ]


def _asked_by_the_user(params: Params) -> list[Asked]:
    from great_expectations import expectations as gxe

    wanted = []
    if params.labels:
        known = gxe.ExpectColumnValuesToBeInSet(column="stratum", value_set=params.labels)
        allowed = f"the label is one of the {len(params.labels)} allowed"
        wanted.append(Asked("unknown_label", params.on_unknown_label, allowed, [known]))
    for own in params.patterns:
        kind = gxe.ExpectColumnValuesToMatchRegex if own.must_match else gxe.ExpectColumnValuesToNotMatchRegex
        says = f"the text {'matches' if own.must_match else 'does not match'} {own.pattern}"
        wanted.append(Asked(f"pattern:{own.name}", own.severity, says, [kind(column="text", regex=own.pattern)]))
    return wanted


def _frame(rows: "pd.DataFrame", task: Task, required: list[str], allowed: list[str]) -> "pd.DataFrame":
    """The rows as the expectations see them. `stratum` is a label of a row's, if it has one that is not `allowed` that one.

    A blank text is an absent one, which the other expectations skip. Object strings: Arrow's would be matched by RE2,
    which knows no look-around.
    """
    import pandas as pd

    blank = rows["text"].fillna("").str.strip() == ""
    labels = task.labels_of(rows).astype(object)
    worst_first = pd.concat([labels[~labels.isin(allowed)], labels])
    return pd.DataFrame(
        {
            "row": rows.index,
            "id": rows["id"].astype(object),
            "text": rows["text"].astype(object).mask(blank, None),
            **{name: rows[name].astype(object) for name in required},
            "stratum": worst_first[~worst_first.index.duplicated()].reindex(rows.index),
        }
    )


def check_labels(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """The least share of a label, over the rows that are left."""
    from great_expectations import expectations as gxe

    if params.on_rare_label == "ignore":
        return rows, []
    strata = task.strata(rows)
    counts = strata.value_counts().rename_axis("id").reset_index(name="rows")
    counts["share"] = counts["rows"] / len(rows)
    result = _validate(
        counts.assign(row=counts.index, id=counts["id"].astype(object)),
        [gxe.ExpectColumnValuesToBeBetween(column="share", min_value=params.min_label_share)],
    )[0]
    rare = sorted(entry["id"] for entry in result["unexpected_index_list"])
    return rows, [
        Check(
            "rare_label",
            params.on_rare_label,
            f"each label has a share of {params.min_label_share:g} or more",
            not rare,
            float(counts["share"].min()),
            params.min_label_share,
            [int(row) for row in strata.index[strata.isin(rare)].unique()],
            details={"labels": rare},
        )
    ]


def check_size(rows: "pd.DataFrame", task: Task, params: Params) -> "tuple[pd.DataFrame, list[Check]]":
    """Enough rows, and labels enough to learn of, over the rows that are left."""
    import pandas as pd
    from great_expectations import expectations as gxe

    strata, fewest = task.strata(rows), task.fewest
    ids = rows["id"].astype(object)
    (counted,) = _validate(
        pd.DataFrame({"row": rows.index, "id": ids}), [gxe.ExpectTableRowCountToBeBetween(min_value=params.min_rows)]
    )
    (distinct,) = _validate(
        pd.DataFrame({"row": strata.index, "id": ids[strata.index], "stratum": strata.astype(object)}),
        [gxe.ExpectColumnUniqueValueCountToBeBetween(column="stratum", min_value=fewest)],
    )
    size, classes = int(counted["observed_value"]), int(distinct["observed_value"])
    checks = [
        Check("classes", "reject", f"{fewest} or more labels are left", bool(distinct["success"]), classes, fewest)
    ]
    if params.on_few_rows != "ignore":
        says = f"{params.min_rows:,} rows or more are left"
        checks.append(Check("few_rows", params.on_few_rows, says, bool(counted["success"]), size, params.min_rows))
    return rows, checks


def _validate(frame: "pd.DataFrame", expectations: list[Any]) -> list[dict[str, Any]]:
    """Each expectation's result on `frame`, which has columns row and id, in order, with its `success`.

    The rows that break one are in `unexpected_index_list`, each with its `id` and `row` (ids may repeat, rows not).
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    if not expectations:
        return []
    for number, expectation in enumerate(expectations):
        expectation.meta = {"number": number}
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("frame")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    validated = batch.validate(
        gx.ExpectationSuite(name="data_quality", expectations=expectations),
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": ["id", "row"],
            "return_unexpected_index_query": False,
        },
    )
    results: list[dict[str, Any]] = [{} for _ in expectations]
    for one in validated.results:
        asked = one.expectation_config
        if asked is None or (not one.success and not one.result):
            raise RuntimeError(f"{asked and asked.type} failed to run: {one.exception_info}")
        broken = one.result.get("unexpected_index_list") or []
        results[asked.meta["number"]] = {
            **one.result,
            "unexpected_index_list": broken,
            "success": one.success,
        }
    return results
