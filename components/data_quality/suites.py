"""Great Expectations suites: how one is run on rows, how a team's own is read, how what was asked is kept as GX's file."""

import importlib.util
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data_quality.check import Check
from fineline.process.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

NAME = "data_quality"
_HINT = "data_quality.suite is a suite in GX's JSON, or a Python file that makes one by the name `suite`: docs/expectations.md"
_GX_SEVERITIES = {"reject": "critical", "quarantine": "warning", "warn": "info"}
_FIGURES = ("element_count", "unexpected_count", "unexpected_percent", "missing_count", "observed_value")


def validate(frame: "pd.DataFrame", expectations: list[Any]) -> list[dict[str, Any]]:
    """Each expectation's result on `frame`, which has columns row and id, in order, with its `success`.

    The rows that break one are in `unexpected_index_list`, each with its `id` and `row` (ids may repeat, rows not). One that
    cannot be run has its `error`.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    if not expectations:
        return []
    for number, expectation in enumerate(expectations):
        expectation.meta = {**(expectation.meta or {}), "number": number}
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("frame")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    validated = batch.validate(
        gx.ExpectationSuite(name=NAME, expectations=expectations),
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": ["id", "row"],
            "return_unexpected_index_query": False,
        },
    )
    results: list[dict[str, Any]] = [{} for _ in expectations]
    for one in validated.results:
        asked = one.expectation_config
        if asked is None:
            raise RuntimeError(f"an expectation failed to run: {one.exception_info}")
        broken = one.result.get("unexpected_index_list") or []
        results[asked.meta["number"]] = {
            **one.result,
            "unexpected_index_list": broken,
            "success": bool(one.success),
            **({} if one.success or one.result else {"error": _message(one.exception_info)}),
        }
    return results


def _message(info: dict[str, Any]) -> str:
    """What GX says of an exception: under a key, or under the ids of metrics."""
    found = info.get("exception_message") or next(
        (each["exception_message"] for each in info.values() if isinstance(each, dict)), ""
    )
    return str(found).splitlines()[0] if found else str(info)[:200]


def read_suite(location: str) -> list[Any]:
    """The expectations of a team's own suite; those of `text_expectations` are known in it. Raises UsageError for one that
    cannot be used, with the expectation that is wrong.
    """
    from components.data_quality import text_expectations  # noqa: F401 (GX knows a class once it is made)

    path = Path(location)
    try:
        return _from_python(path) if path.suffix == ".py" else _from_json(path.read_text(encoding="utf-8"), location)
    except OSError as error:
        raise UsageError(f"{location} cannot be read: {error.strerror or error}", _HINT) from None
    except UnicodeDecodeError:
        raise UsageError(f"{location} is no UTF-8", _HINT) from None


def _from_json(text: str, location: str) -> list[Any]:
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        entries = json.loads(text)["expectations"]
        configurations = [dict(entry) for entry in entries]
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{location} is no suite: {type(error).__name__} {error}", _HINT) from None
    made = []
    for number, entry in enumerate(configurations, 1):
        try:  # one by one: a whole suite drops what it does not know, and only logs it
            made.append(ExpectationConfiguration(**entry).to_domain_obj())
        except (GreatExpectationsError, ValueError, TypeError) as error:
            said = " ".join(str(error).split())
            raise UsageError(f"{location}: expectation {number}, {entry.get('type')}: {said}", _HINT) from None
    return made


def _from_python(path: Path) -> list[Any]:
    from great_expectations import ExpectationSuite

    path.stat()
    specification = importlib.util.spec_from_file_location("team_suite", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 (whatever the team's file raises is said)
        raise UsageError(f"{path} fails: {type(error).__name__}: {error}", _HINT) from None
    suite = getattr(module, "suite", None)
    if not isinstance(suite, ExpectationSuite):
        raise UsageError(f"{path} makes no ExpectationSuite by the name suite", _HINT)
    return list(suite.expectations)


def kept(expectation: Any, result: dict[str, Any], check: str, severity: str) -> dict[str, Any]:
    """An expectation as GX writes it, and the figures of its result: no text of a row, which may be personal."""
    configuration = expectation.configuration.to_json_dict()
    configuration |= {"meta": {"check": check, "on_failure": severity}, "severity": _GX_SEVERITIES[severity]}
    given = {name: result.get(name) for name in _FIGURES}
    summary = {name: value for name, value in given.items() if isinstance(value, int | float) and math.isfinite(value)}
    return {"expectation_config": configuration, "success": result["success"], "result": summary}


def suite_file(checks: Iterable[Check]) -> dict[str, Any]:
    """What was asked of the rows, as GX's suite file: `ExpectationSuite` reads it."""
    from great_expectations import __version__

    asked = [entry["expectation_config"] for check in checks for entry in check.expectations]
    return {"name": NAME, "id": None, "expectations": asked, "meta": {"great_expectations_version": __version__}}


def validation_file(checks: Iterable[Check]) -> dict[str, Any]:
    """What came of it, as GX's validation result without clock and ids: `ExpectationSuiteValidationResult` reads it."""
    results = [entry for check in checks for entry in check.expectations]
    successful = sum(entry["success"] for entry in results)
    statistics = {
        "evaluated_expectations": len(results),
        "successful_expectations": successful,
        "unsuccessful_expectations": len(results) - successful,
        "success_percent": round(100 * successful / len(results), 4) if results else None,
    }
    return {"success": successful == len(results), "suite_name": NAME, "statistics": statistics, "results": results}
