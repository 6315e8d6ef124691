"""fineline compare: the page of two versions, from rows as the server writes them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.__main__ import main
from fineline.serving.batching import Scored
from fineline.serving.feedback import Feedback
from fineline.serving.metrics import Metrics
from fineline.serving.models import Served
from fineline.serving.sample_log import SampleLog
from fineline.serving.shadow import Pair
from fineline.tasks import get_task

BUNDLE: Any = SimpleNamespace(task=get_task("single_label"))
ONE, TWO, THREE = (Served("tiny", str(number), str(number), BUNDLE, 1) for number in (1, 2, 3))


def answers(labels: list[str], score: float) -> Scored:
    found = [{"label": label, "score": score, "probabilities": {label: score}} for label in labels]
    return Scored(found, [score / 100] * len(labels))


def write(folder: Path, *rows: tuple[Pair, list[str], Scored, Scored | None]) -> None:
    log = SampleLog(folder, 1.0, 3600, Metrics())
    for row in rows:
        log.add(*row)
    log.close()


def test_both_sides_of_a_canary_and_each_text_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"text {number}" for number in range(90)]
    beside, canary = Pair(ONE, TWO), Pair(TWO, ONE, canary=True)
    write(
        tmp_path / "log",
        (Pair(ONE, THREE), ["of another pair"], answers(["card"], 0.9), answers(["pin"], 0.9)),
        (beside, texts, answers(["card"] * 90, 0.9), answers(["card"] * 85 + ["<pin>"] * 5, 0.6)),
        (
            canary,
            [*texts[:10], *(f"more {n}" for n in range(10))],
            answers(["app"] * 20, 0.6),
            answers(["card"] * 20, 0.9),
        ),
        (beside, ["dropped"], answers(["card"], 0.9), None),
    )
    assert main(["compare", str(tmp_path / "log"), "--out", str(tmp_path / "page.html")]) == 0
    assert "versions 1 and 2 agree on 85 of 100 texts, 85.0% (76.7% to 90.7%)" in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text()
    assert "Version 2 beside version 1" in page
    assert "mean score, version 1" in page
    assert ">0.900<" in page
    assert ">0.600<" in page
    assert "&lt;pin&gt;" in page
    assert "<pin>" not in page
    assert "more 3" in page
    assert "of another pair" not in page
    assert "Which is right" not in page
    feedback = [*((text, "card") for text in texts[:88]), ("of nobody", "card")]
    Feedback(tmp_path / "feedback", "--folder").add(feedback)
    arguments = ["compare", str(tmp_path / "log"), "--out", str(tmp_path / "page.html"), "--force", "--feedback"]
    assert main([*arguments, str(tmp_path / "feedback")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "Only version 2 is right on 0 of them, only version 1 on 3: p = 0.25" in page
    assert ">1.000<" in page
    assert ">0.966<" in page  # 85 of 88
    assert main([*arguments, str(tmp_path / "none")]) == 2
    assert "none does not exist" in capsys.readouterr().err
    arguments = ["compare", str(tmp_path / "log"), "--out", str(tmp_path / "page.html"), "--versions"]
    assert main([*arguments, "1", "3"]) == 2
    assert "exists already" in capsys.readouterr().err
    arguments.insert(1, "--force")
    assert main([*arguments, "1", "3"]) == 0
    assert "agree on 0 of 1 texts" in capsys.readouterr().out
    assert main([*arguments, "3", "1"]) == 2
    assert "it has --versions 1 3, 1 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda folder: None, 2, "holds no sample log"),
        (lambda folder: write(folder, (Pair(ONE), ["a"], answers(["card"], 0.9), None)), 2, "that two models labelled"),
        (lambda folder: (folder.mkdir(), (folder / "a.parquet").write_text("x")), 3, "is no whole Parquet file"),
    ],
)
def test_what_is_no_log_of_two(make, code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "log")
    assert main(["compare", str(tmp_path / "log"), "--out", str(tmp_path / "page.html")]) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
