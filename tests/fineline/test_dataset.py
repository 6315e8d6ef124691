"""Which columns of the rows a parameter means."""

import itertools
import re
import shlex

import pandas as pd
import pytest

from fineline.process.errors import UsageError
from fineline.rows.dataset import ALL_KEPT, chosen_columns
from fineline.tasks import get_task
from pipelines import blocks
from tests.conftest import PROJECT

COLUMNS = ["id", "text", "label", "group", "annotators", "time", "split", "channel", "parent_id", "method", "country"]
ROWS = pd.DataFrame(columns=COLUMNS)


def test_all_that_were_kept_are_those_that_no_step_knows() -> None:
    task = get_task("single_label")
    assert chosen_columns(ROWS, [ALL_KEPT], task, "x") == ["channel", "country"]
    assert chosen_columns(ROWS[["id", "text", "label"]], [ALL_KEPT], task, "x") == []
    assert chosen_columns(ROWS, ["country"], task, "x") == ["country"]
    assert chosen_columns(ROWS, [], task, "x") == []
    with pytest.raises(UsageError, match=r"evaluate\.slice_columns: the rows have no column region") as caught:
        chosen_columns(ROWS, ["channel", "region"], task, "evaluate.slice_columns")
    assert "split, channel, parent_id" in caught.value.hint


def test_commands_for_other_data_name_no_column_of_the_sample() -> None:
    text = (PROJECT / "docs" / "recipes.md").read_text(encoding="utf-8")
    commands = [
        found.replace("\\\n", " ") for found in re.findall(r"dvc exp run((?: \\\n|.)+)", text) if "pin.source=" in found
    ]
    assert commands
    for command in commands:
        words = shlex.split(command)
        steps, _ = blocks.read([value for word, value in itertools.pairwise(words) if word == "-S"])
        assert steps["ingest"]["keep_columns"] == []
        named = [
            steps["evaluate"]["slice_columns"],
            steps["promote"]["slice_columns"],
            steps["quantize"]["reference_columns"],
        ]
        assert all(columns in ([], [ALL_KEPT]) for columns in named)
        assert not steps["ingest"]["columns"]["time"]
        assert not steps["ingest"]["columns"]["annotators"]
