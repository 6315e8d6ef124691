"""Expectations of Great Expectations about texts, for a team's own suite: tokens, personal data, scripts, templates.

Each is known to GX by its name in snake case, such as `expect_column_values_to_fit_the_model`.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnMapExpectation
from great_expectations.expectations.metrics import ColumnMapMetricProvider
from great_expectations.expectations.metrics.map_metric_provider import column_condition_partial

from components.data_quality.personal import PLACES, find, mask
from components.data_quality.tokens import counted, main_script
from fineline.texts.sameness import normalise

if TYPE_CHECKING:
    import pandas as pd


class _Fits(ColumnMapMetricProvider):
    condition_metric_name = "column_values.fit_the_model"
    condition_value_keys = ("model", "revision", "max_length")

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: "pd.Series", model: str, revision: str, max_length: int, **_: Any) -> "pd.Series":
        return counted(column, model, revision)["tokens"] <= max_length


class ExpectColumnValuesToFitTheModel(ColumnMapExpectation):
    """Texts have at most `max_length` tokens of the model's own tokenizer, special ones counted."""

    map_metric = "column_values.fit_the_model"
    success_keys = ("model", "revision", "max_length", "mostly")
    model: str = "bundled:all-MiniLM-L6-v2"
    revision: str = ""
    max_length: int = 128


class _HoldsNothingPersonal(ColumnMapMetricProvider):
    condition_metric_name = "column_values.hold_no_personal_data"
    condition_value_keys = ("kinds",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: "pd.Series", kinds: Sequence[str], **_: Any) -> "pd.Series":
        return column.map(lambda text: not any(kind in kinds for *_, kind in find(text)))


class ExpectColumnValuesToHoldNoPersonalData(ColumnMapExpectation):
    """Texts hold none of the `kinds`: email, iban, card, phone (docs/personal-data.md)."""

    map_metric = "column_values.hold_no_personal_data"
    success_keys = ("kinds", "mostly")
    kinds: Sequence[str] = tuple(PLACES)


class _IsInScript(ColumnMapMetricProvider):
    condition_metric_name = "column_values.be_in_script"
    condition_value_keys = ("scripts",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: "pd.Series", scripts: list[str], **_: Any) -> "pd.Series":
        return column.map(main_script).isin(["", *scripts])


class ExpectColumnValuesToBeInScript(ColumnMapExpectation):
    """Most letters of a text are of one of `scripts`: LATIN, CYRILLIC, CJK, ..., the first word of their Unicode names."""

    map_metric = "column_values.be_in_script"
    success_keys = ("scripts", "mostly")
    scripts: list[str]


class _IsNoTemplate(ColumnMapMetricProvider):
    condition_metric_name = "column_values.be_no_template"
    condition_value_keys = ("max_share",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: "pd.Series", max_share: float, **_: Any) -> "pd.Series":
        frame = column.map(_without_details)
        return frame.groupby(frame).transform("size") <= max_share * len(column)


class ExpectColumnValuesToBeNoTemplate(ColumnMapExpectation):
    """Not more than `max_share` of the texts are the same once numbers and personal data are taken out."""

    map_metric = "column_values.be_no_template"
    success_keys = ("max_share", "mostly")
    max_share: float = 0.05


def _without_details(text: str) -> str:
    return re.sub(r"\d+", "0", normalise(mask(text)[0]))
