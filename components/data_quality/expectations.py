"""The Great Expectations suites, built from the parameters: one over the rows as they come, one over what is left."""

import dataclasses
from typing import TYPE_CHECKING, Any, get_args

from components.data_quality.check import Check
from components.data_quality.params import Params, Severity
from components.data_quality.suites import kept, read_suite, validate
from fineline.process.errors import UsageError
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
    wanted = [*_always_asked(params, required), *_asked_by_the_user(params), *_own_suite(params)]
    asked = [item for item in wanted if item.severity != "ignore"]
    frame = _frame(rows, task, params.labels)
    results = iter(validate(frame, [expectation for item in asked for expectation in item.expectations]))
    checks = []
    for item in asked:
        found = [next(results) for _ in item.expectations]
        if errors := [result["error"] for result in found if "error" in result]:
            raise UsageError(f"{item.name} cannot be run: {errors[0]}", "look at its column and its parameters")
        broken = sorted({int(entry["row"]) for result in found for entry in result["unexpected_index_list"]})
        passed = all(result["success"] for result in found)
        figure = len(broken) or int(not passed)  # one about the whole names no row
        entries = [kept(*pair, item.name, item.severity) for pair in zip(item.expectations, found, strict=True)]
        checks.append(Check(item.name, item.severity, item.says, passed, figure, 0, broken, expectations=entries))
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


def _own_suite(params: Params) -> list[Asked]:
    """The team's own suite. What an expectation's `meta` calls `on_failure` goes before `on_suite`."""
    if not params.suite or params.on_suite == "ignore":
        return []
    wanted: list[Asked] = []
    for own in read_suite(params.suite):
        severity = (own.meta or {}).get("on_failure", params.on_suite)
        if severity not in get_args(Severity):
            raise UsageError(
                f"{params.suite}: on_failure is {severity!r}", f"it is one of {', '.join(get_args(Severity))}"
            )
        about = own.configuration.kwargs.get("column", "")
        name = f"suite:{own.expectation_type}{f':{about}' if about else ''}"
        count = sum(item.name.split(" ")[0] == name for item in wanted)
        says = own.description or f"{own.expectation_type} ({', '.join(_said(own))})"
        wanted.append(Asked(f"{name} {count + 1}" if count else name, severity, says, [own]))
    return wanted


def _said(expectation: Any) -> list[str]:
    kwargs = expectation.configuration.kwargs.items()
    return [f"{name}: {value}" for name, value in kwargs if value is not None and (name, value) != ("mostly", 1)]


def _frame(rows: "pd.DataFrame", task: Task, allowed: list[str]) -> "pd.DataFrame":
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
            **{name: rows[name].astype(object) for name in rows if name not in ("id", "text")},
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
    result = validate(
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

    strata, ids = task.strata(rows).astype(object), rows["id"].astype(object)
    of_rows = pd.DataFrame({"row": rows.index, "id": ids})
    of_labels = pd.DataFrame({"row": strata.index, "id": ids[strata.index], "stratum": strata})
    few = gxe.ExpectTableRowCountToBeBetween(min_value=params.min_rows)
    one = gxe.ExpectColumnUniqueValueCountToBeBetween(column="stratum", min_value=task.fewest)
    wanted: list[tuple[Any, ...]] = [
        ("classes", "reject", f"{task.fewest} or more labels are left", one, task.fewest, of_labels)
    ]
    if params.on_few_rows != "ignore":
        says = f"{params.min_rows:,} rows or more are left"
        wanted.append(("few_rows", params.on_few_rows, says, few, params.min_rows, of_rows))
    checks = []
    for name, severity, says, asked, bound, frame in wanted:
        (result,) = validate(frame, [asked])
        entries = [kept(asked, result, name, severity)]
        figure = int(result["observed_value"])
        checks.append(Check(name, severity, says, result["success"], figure, bound, expectations=entries))
    return rows, checks
