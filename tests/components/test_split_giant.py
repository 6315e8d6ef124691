"""split where near-duplicates form a group too large for one side: templates stay in every split, chains are cut."""

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.split.giant import cut
from components.split.leakage import link_rows
from fineline.rows.dataset import SPLITS, read_splits
from fineline.texts.sameness import normalise, shingles
from tests.components.conftest import RunStep
from tests.conftest import write_dataset

TEMPLATE = "Your parcel {} has been shipped today and will arrive within three working days, thank you for your order"


def words(count: int, rng: random.Random) -> list[str]:
    return ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 8))) for _ in range(count)]


def varied(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(words(12, rng)) for _ in range(count)]


def chain(count: int) -> list[str]:
    """Each text is near the next ones, the first and the last have nothing in common."""
    line = words(count + 39, random.Random(0))
    return [" ".join(line[start : start + 40]) for start in range(count)]


def table(**texts: list[str]) -> pd.DataFrame:
    rows = [(text, label.rstrip("0123456789")) for label, found in texts.items() for text in found]
    return pd.DataFrame(
        {"id": [f"r{n:04}" for n in range(len(rows))], "text": [r[0] for r in rows], "label": [r[1] for r in rows]}
    )


def split(run_step: RunStep, tmp_path: Path, rows: pd.DataFrame, **params: object) -> tuple[dict, dict, str]:
    """The parts, split.json and the line of a run that must end well; nothing lost unseen."""
    dataset = write_dataset(tmp_path / "dataset", rows)
    code, out, error = run_step("split", params, dataset=dataset, splits=tmp_path / "splits")
    assert code == 0, error
    parts, account = read_splits(tmp_path / "splits"), json.loads((tmp_path / "splits" / "split.json").read_text())
    ids = [*pd.concat(parts.values())["id"], *account.get("cut", {}).get("left", {})]
    assert sorted(ids) == sorted(rows["id"])
    assert account["proof"]["near_duplicate_pairs"] == near_across(parts)
    assert account["proof"]["shared_texts"] == account["proof"]["shared_groups"] == 0
    return parts, account, out


def near_across(parts: dict[str, pd.DataFrame]) -> int:
    """Pairs of distinct texts on two sides that are near, by comparing all."""
    sets = {name: [shingles(form) for form in set(map(normalise, part["text"]))] for name, part in parts.items()}
    return sum(
        len(a & b) >= 0.8 * len(a | b)
        for one, other in itertools.combinations(SPLITS, 2)
        for a, b in itertools.product(sets[one], sets[other])
    )


def counts(parts: dict[str, pd.DataFrame], label: str) -> list[int]:
    return [int((part["label"] == label).sum()) for part in parts.values()]


def test_a_templated_class_is_in_every_split(run_step: RunStep, tmp_path: Path) -> None:
    """56 of 100 rows are one group; none could leave without the class leaving."""
    rows = table(shipped=[TEMPLATE.format(n) for n in range(168)], lost=varied(66, 1), late=varied(66, 2))
    parts, account, out = split(run_step, tmp_path, rows)
    assert counts(parts, "shipped") == pytest.approx([118, 17, 33], abs=3)
    held_out = {"validation": counts(parts, "shipped")[1], "test": counts(parts, "shipped")[2]}
    assert account["cut"]["near_another_side"]["labels"] == {"shipped": held_out}
    assert account["cut"]["left"] == {}
    assert account["proof"]["near_duplicate_pairs"] > 1000
    assert (account["cut"]["largest"], account["cut"]["pieces"]) == (168, pytest.approx(11, abs=1))
    assert "1 group of near-duplicates, the largest of 168 rows, cut into" in out
    assert "there are near a row on another side, or shipped would have too few" in out
    assert "asked" not in out


def test_a_template_within_a_class_is_learned_and_not_tested(run_step: RunStep, tmp_path: Path) -> None:
    """A class with enough other rows to be tested on: the promise is kept whole."""
    rows = table(shipped=[TEMPLATE.format(n) for n in range(60)], shipped2=varied(90, 1), lost=varied(150, 2))
    parts, account, out = split(run_step, tmp_path, rows)
    assert near_across(parts) == account["cut"]["near_another_side"]["pairs"] == 0
    templates = [part["text"].str.startswith("Your parcel").sum() for part in parts.values()]
    assert templates == [60 - len(account["cut"]["left"]), 0, 0]
    assert len(account["cut"]["left"]) == pytest.approx(18, abs=2)
    assert set(account["cut"]["left"].values()) == {"validation", "test"}
    assert "near a row on another side" not in out


def test_a_chain_is_cut_in_few_places(run_step: RunStep, tmp_path: Path) -> None:
    rows = table(story=chain(300), lost=varied(300, 1))
    parts, account, _ = split(run_step, tmp_path, rows)
    assert near_across(parts) == 0
    assert 0 < len(account["cut"]["left"]) < 40
    assert counts(parts, "story") == pytest.approx([210, 30, 60], abs=25)


def test_a_chain_of_nearly_all_rows_is_no_dead_end(run_step: RunStep, tmp_path: Path) -> None:
    rows = table(story=chain(80)[:79], lost=varied(4, 1))
    parts, _, _ = split(run_step, tmp_path, rows)
    assert min(counts(parts, "story")) > 2


def test_the_bound_and_the_loss_are_parameters(run_step: RunStep, tmp_path: Path) -> None:
    rows = table(shipped=[TEMPLATE.format(n) for n in range(60)], shipped2=varied(30, 1), lost=varied(60, 2))
    whole, account, _ = split(run_step, tmp_path, rows, max_group_share=0.5)
    assert "cut" not in account
    assert near_across(whole) == 0
    (tmp_path / "strict").mkdir()
    strict, account, _ = split(run_step, tmp_path / "strict", rows, max_cut_loss=1)
    assert near_across(strict) == 0
    (tmp_path / "kept").mkdir()
    kept, account, _ = split(run_step, tmp_path / "kept", rows, max_cut_loss=0)
    assert account["cut"]["left"] == {}
    assert near_across(kept) > 0
    assert sum(map(len, kept.values())) == 150


def test_equal_texts_and_named_groups_are_never_divided(run_step: RunStep, tmp_path: Path) -> None:
    rows = table(shipped=[TEMPLATE.format(n // 5) for n in range(150)], lost=varied(100, 1))
    rows["group"] = [f"customer {n // 15}" if n < 60 else None for n in range(250)]
    parts, account, _ = split(run_step, tmp_path, rows)
    assert "cut" in account
    for column in ("text", "group"):
        sides = pd.concat(parts.values(), keys=SPLITS, names=["side", None]).reset_index("side")
        assert (sides.dropna(subset=[column]).groupby(column)["side"].nunique() == 1).all()


def test_pieces_are_bounded_and_the_order_of_rows_is_all_the_same() -> None:
    rows = table(story=chain(120), lost=varied(80, 1))
    links = link_rows(rows, 0.8, use_group=True)
    whole = links.groups()
    pieces = cut(links, whole, 0.1)
    inside = np.bincount(pieces[:120])
    assert inside.max() <= 12
    assert (inside > 0).sum() < 20
    assert (cut(links, whole, 1.0) == whole).all()
    assert len(set(pieces[120:])) == 80


def test_by_time_a_giant_group_is_cut_too(run_step: RunStep, tmp_path: Path) -> None:
    rows = table(shipped=[TEMPLATE.format(n) for n in range(150)], lost=varied(100, 1))
    rows["time"] = [str(1_767_225_600 + 3600 * (n * 7 % 250)) for n in range(250)]
    parts, account, _ = split(run_step, tmp_path, rows, mode="time")
    assert min(map(len, parts.values())) > 5
    assert account["cut"]["groups"] == 1
