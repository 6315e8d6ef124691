"""fineline new for tasks whose rows have several labels."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from cli.__main__ import main
from cli.project.choose_columns import choose
from cli.project.look_at_data import Column, Look, look
from fineline.process.errors import UsageError
from fineline.rows.settings import Reading
from fineline.tasks import get_task


@pytest.mark.parametrize(("name", "reason"), [("a.jsonl", "lists"), ("a.csv", "labels, several in a cell")])
def test_a_project_for_sets_of_labels(name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sets = [["joy"], ["joy", "love"], []]
    rows = [{"body": f"this is text number {n}", "emotions": sets[n % 3]} for n in range(60)]
    if name.endswith("csv"):
        pd.DataFrame(rows).assign(emotions=["|".join(row["emotions"]) for row in rows]).to_csv(name, index=False)
    else:
        Path(name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    seen = look(name)
    choice = choose(seen, get_task("multi_label"), {})
    assert (choice.columns["text"], choice.columns["labels"]) == ("body", "emotions")
    assert choice.why["labels"].startswith(reason)
    assert main(["new", "p", "--data", name, "--task", "multi_label"]) == 0
    ingest = yaml.safe_load(Path("p/params.yaml").read_text())["ingest"]
    assert ingest == {"task": "multi_label", "columns": {"text": "body", "labels": "emotions"}}


def test_no_column_of_lists_is_said() -> None:
    seen = Look([], Reading("--"), [Column("text", ["one two three"]), Column("number", ["1.5"])], 1, False)
    with pytest.raises(UsageError, match="no column looks like labels: none holds lists"):
        choose(seen, get_task("multi_label"), {})
