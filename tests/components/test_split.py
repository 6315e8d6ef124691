"""The step split: shares, what stays together, what is removed, policies, and the proof."""

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.split.assignment import stratified
from components.split.leakage import leaks_into, link_rows, shared_between
from components.split.params import Params
from components.split.step import _proof
from fineline.artifacts import folders
from fineline.rows.dataset import SPLITS, read_splits, row_schema, write_rows
from fineline.texts.sameness import exact_near_pairs, shingles
from tests.conftest import REAL_DATA, files_of, make_rows, write_dataset

RunStep = Callable[..., tuple[int, str, str]]


def run_split(run_step: RunStep, tmp_path: Path, rows: pd.DataFrame, name: str = "splits", **params: object) -> Path:
    """Splits `rows` and gives the output folder; the step must end well."""
    code, _, errors = run_step(
        "split", params, dataset=write_dataset(tmp_path / f"{name}_dataset", rows), splits=tmp_path / name
    )
    assert code == 0, errors
    return tmp_path / name


def account_of(folder: Path) -> dict:
    return json.loads((folder / "split.json").read_text())


def test_leaves_the_exact_files_and_loses_no_row(run_step: RunStep, tmp_path: Path, rows: pd.DataFrame) -> None:
    folder = run_split(run_step, tmp_path, rows)
    assert files_of(folder) == {
        *("train.parquet", "validation.parquet", "test.parquet"),
        *("split.json", "manifest.json", "run.json"),
    }
    parts = read_splits(folder)
    together = pd.concat(parts.values()).sort_values("id", ignore_index=True)
    pd.testing.assert_frame_equal(together, rows.sort_values("id", ignore_index=True), check_dtype=False)
    schemas = [row_schema(folder / f"{name}.parquet") for name in SPLITS]
    assert schemas == [row_schema(tmp_path / "splits_dataset" / "data.parquet")] * 3
    manifest = folders.verify(folder)
    assert (manifest.kind, manifest.step, manifest.task) == ("splits", "split", "single_label")
    assert manifest.figures["rows"] == {name: len(part) for name, part in parts.items()}


def test_shares_of_every_label_are_7_1_2_up_to_rounding(run_step: RunStep, tmp_path: Path) -> None:
    rows = make_rows(600)
    rows.loc[rows.index[300:], "label"] = "card"  # 400 : 100 : 100
    folder = run_split(run_step, tmp_path, rows, near_duplicate_threshold=0)
    for label, total in rows["label"].value_counts().items():
        counts = [int((part["label"] == label).sum()) for part in read_splits(folder).values()]
        assert counts == [round(total * share) for share in (0.7, 0.1, 0.2)], label
    account = account_of(folder)
    assert account["largest_deviation"]["points"] == 0
    assert account["labels"]["card"]["test"] == {"rows": 80, "share": 0.2}
    assert account["asked"] == {"train": 0.7, "validation": 0.1, "test": 0.2}


def test_columns_keep_their_types_and_nulls(run_step: RunStep, tmp_path: Path) -> None:
    rows = make_rows(60)
    rows["group"] = [None if n % 3 else f"g{n % 7}" for n in range(60)]
    rows["annotators"] = [["a", "b"] if n % 2 else None for n in range(60)]
    rows["time"] = [None if n % 5 else "2026-01-01" for n in range(60)]
    parts = read_splits(run_split(run_step, tmp_path, rows))
    together = pd.concat(parts.values()).set_index("id").loc[rows["id"]]
    assert together["group"].isna().sum() == 40
    assert together["time"].isna().sum() == 48
    assert [None if v is None else list(v) for v in together["annotators"]] == rows["annotators"].tolist()


def test_same_rows_in_another_order_give_the_same_bytes(run_step: RunStep, tmp_path: Path) -> None:
    rows = make_rows(90)
    first = run_split(run_step, tmp_path, rows)
    shuffled = run_split(run_step, tmp_path, rows.sample(frac=1, random_state=4), "shuffled")
    other_seed = run_split(run_step, tmp_path, rows, "other", seed=14)
    digests = [folders.verify(folder).digest for folder in (first, shuffled, other_seed)]
    assert digests[0] == digests[1] != digests[2]


def test_near_duplicates_and_groups_stay_on_one_side(run_step: RunStep, tmp_path: Path) -> None:
    rows = make_rows(150)
    copies = rows.iloc[:60].assign(id=[f"c{n}" for n in range(60)], text=lambda r: r["text"] + "!")
    near = rows.iloc[60:90].assign(id=[f"n{n}" for n in range(30)], text=lambda r: "the " + r["text"])
    rows = pd.concat([rows, copies, near], ignore_index=True)
    rows["group"] = [f"g{n % 40}" if n % 2 else "" for n in range(len(rows))]
    folder = run_split(run_step, tmp_path, rows)
    home = {row_id: name for name, part in read_splits(folder).items() for row_id in part["id"]}
    assert all(home[f"c{n}"] == home[f"r{n}"] for n in range(60))
    similar = [
        (f"r{n + 60}", f"n{n}") for n in range(30) if _jaccard(rows["text"][n + 60], rows["text"][n + 210]) >= 0.8
    ]
    assert len(similar) > 10
    assert all(home[a] == home[b] for a, b in similar)
    assert rows[rows["group"] != ""].assign(home=rows["id"].map(home)).groupby("group")["home"].nunique().eq(1).all()
    proof = account_of(folder)["proof"]
    assert proof == {"threshold": 0.8, "shared_texts": 0, "near_duplicate_pairs": 0, "shared_groups": 0}
    without = run_split(run_step, tmp_path, rows, "without", use_group=False, near_duplicate_threshold=0)
    assert account_of(without)["groups"]["joined_rows"] < account_of(folder)["groups"]["joined_rows"]


def test_chains_of_links_join_rows() -> None:
    rows = pd.DataFrame(
        {
            "text": ["Lost my card", "lost  my card", "lost my card bus", "where is it", "how much", "what"],
            "group": [None, "a", None, "a", "", ""],
        }
    )
    assert link_rows(rows, 0, use_group=True).groups().tolist() == [0, 0, 1, 0, 2, 3]
    assert link_rows(rows, 0.5, use_group=True).groups().tolist() == [0, 0, 0, 0, 1, 2]
    assert link_rows(rows, 0.5, use_group=False).groups().tolist() == [0, 0, 0, 1, 2, 3]
    assert link_rows(rows.drop(columns="group"), 0, use_group=True).groups().tolist() == [0, 0, 1, 2, 3, 4]


def test_rows_of_emoji_are_no_leaks_of_each_other(run_step: RunStep, tmp_path: Path) -> None:
    rows = make_rows(150)
    rows.loc[rows.index[:40], "text"] = [chr(0x1F600 + number) for number in range(40)]
    rows["split"] = ["test" if number < 2 or number > 140 else None for number in range(150)]
    assert account_of(run_split(run_step, tmp_path, rows))["leaked"]["count"] == 0


def test_texts_are_the_same_as_data_quality_folded_them(run_step: RunStep, tmp_path: Path) -> None:
    rows = make_rows(150)
    marked = rows.iloc[:40].assign(id=[f"c{n}" for n in range(40)], text=lambda r: r["text"].str.replace(" ", " & "))
    folder = write_dataset(tmp_path / "data", pd.concat([rows, marked], ignore_index=True))
    joined = {}
    for name, fold in (("kept", []), ("folded", ["punctuation"])):
        folders.write_manifest(
            folder,
            step="data_quality",
            kind="dataset",
            params={"fold": fold},
            inputs={},
            figures={},
            task="single_label",
        )
        assert run_step("split", {}, dataset=folder, splits=tmp_path / name)[0] == 0
        joined[name] = account_of(tmp_path / name)["groups"]["joined_rows"]
    assert joined["folded"] >= 80 > joined["kept"]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
def test_exact_near_pairs_are_those_of_all_comparisons(threshold: float) -> None:
    rng = random.Random(1)
    texts = ["".join(rng.choices("ab c", k=rng.randint(0, 14))) for _ in range(150)] + make_rows(60)["text"].tolist()
    texts += [text[:-3] for text in texts[-30:]]
    sides = np.arange(len(texts)) % 2
    pairs = [pair for pair in itertools.combinations(range(len(texts)), 2) if _near(texts, pair, threshold)]
    assert len(pairs) > 20
    assert exact_near_pairs(texts, threshold).tolist() == [[i, j] for i, j in pairs]
    assert exact_near_pairs(texts, threshold, sides).tolist() == [[i, j] for i, j in pairs if sides[i] != sides[j]]


def test_groups_of_mixed_labels_are_spread_evenly() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(20, 4000, p=np.arange(1, 21) / 210)
    groups = np.unique(rng.integers(0, 900, 4000), return_inverse=True)[1]
    shares = [0.7, 0.1, 0.2]
    split = stratified(groups, labels, shares, [str(n) for n in range(4000)], seed=13)
    assert len(np.unique(np.stack([groups, split]), axis=1).T) == groups.max() + 1  # no group on two sides
    for label in range(20):
        counts = np.bincount(split[labels == label], minlength=3)
        assert np.abs(counts - np.array(shares) * counts.sum()).max() <= max(1.0, 0.01 * counts.sum())


@pytest.mark.parametrize("per_group", [1, 4])
def test_most_rows_stay_in_their_split_while_the_dataset_grows(per_group: int) -> None:
    """Drawn anew, 80 % of the rows that were the test would leave it."""
    rng = np.random.default_rng(0)
    count, shares = 3000, [0.7, 0.1, 0.2]
    labels = rng.choice(10, count, p=np.arange(1, 11) / 55)
    groups = np.unique(rng.integers(0, count // per_group, count), return_inverse=True)[1]
    keys = [f"group {n}" for n in groups]
    after = stratified(groups, labels, shares, keys, seed=13)
    for part in (500, 1500, 2500):
        first = np.unique(groups[:part], return_inverse=True)[1]
        before = stratified(first, labels[:part], shares, keys[:part], seed=13)
        was_test = before == 2
        assert was_test.sum() == pytest.approx(0.2 * part, abs=5)
        assert (after[:part][was_test] == 2).mean() > (0.75 if part == 500 else 0.85)
        assert (after[:part] == before).mean() > 0.85
    assert np.abs(np.bincount(after) / count - shares).max() < 0.005
    other = stratified(groups, labels, shares, keys, seed=14)
    assert (after == other).mean() < 0.65


def test_a_label_with_three_groups_is_in_every_split(run_step: RunStep, tmp_path: Path) -> None:
    rows = make_rows(120)
    rows.loc[rows.index[[3, 40, 77]], "label"] = "scarce"
    folder = run_split(run_step, tmp_path, rows, near_duplicate_threshold=0)
    shares = account_of(folder)["labels"]["scarce"]
    assert {name: entry["rows"] for name, entry in shares.items()} == {"train": 1, "validation": 1, "test": 1}


@pytest.mark.parametrize(("policy", "in_train", "dropped"), [("train", 4, 0), ("drop", 0, 4)])
def test_policy_for_labels_too_rare(
    run_step: RunStep, tmp_path: Path, policy: str, in_train: int, dropped: int
) -> None:
    rows = make_rows(120)
    rows.loc[rows.index[[3, 40, 41, 42]], "label"] = "scarce"
    rows.loc[rows.index[[40, 41, 42]], "text"] = "the very same words"  # four rows, two groups
    folder = run_split(run_step, tmp_path, rows, rare_label=policy, near_duplicate_threshold=0)
    counts = [int((part["label"] == "scarce").sum()) for part in read_splits(folder).values()]
    assert counts == [in_train, 0, 0]
    assert account_of(folder)["rare_labels"] == {
        "policy": policy,
        "labels": {"scarce": {"rows": 4, "groups": 2}},
        "dropped": dropped,
    }
    assert sum(account_of(folder)["rows"].values()) == 120 - dropped


def test_predefined_test_is_respected_and_its_leaks_are_removed(run_step: RunStep, tmp_path: Path) -> None:
    rows = make_rows(200)
    rows["split"] = ["test" if n >= 160 else None for n in range(200)]
    rows["group"] = [None] * 200
    rows.loc[0, "text"] = rows["text"][170].upper() + "  "
    rows.loc[1, "text"] = "please please " + rows["text"][171] + " with the phone number"
    rows.loc[171, "text"] = rows["text"][1] + "s"
    rows.loc[[2, 172], "group"] = "customer 7"
    folder = run_split(run_step, tmp_path, rows)
    parts = read_splits(folder)
    assert sorted(parts["test"]["id"]) == sorted(rows["id"][160:])
    leaked = account_of(folder)["leaked"]
    assert leaked["rows"]["r0"] == {"reason": "same text", "test_id": "r170"}
    assert leaked["rows"]["r1"] == {"reason": "near-duplicate", "test_id": "r171"}
    assert leaked["rows"]["r2"] == {"reason": "same group", "test_id": "r172"}
    assert leaked["count"] == len(leaked["rows"]) == folders.read_manifest(folder).figures["leaked"]
    kept = 160 - leaked["count"]
    assert len(parts["train"]) + len(parts["validation"]) == kept
    assert len(parts["train"]) == pytest.approx(kept * 0.7 / 0.8, abs=3)
    assert not {"r0", "r1", "r2"} & set(parts["train"]["id"]) | set(parts["validation"]["id"]) & {"r0", "r1", "r2"}


def test_every_copy_of_a_leaked_text_is_removed() -> None:
    rows = pd.DataFrame({"id": list("abcd"), "text": ["my card is lost now", "My  card is LOST now", "other", "words"]})
    test = pd.DataFrame({"id": ["t"], "text": ["my card is lost now, ok"]})
    assert list(leaks_into(rows, test, 0.8, use_group=False)) == ["a", "b"]


def test_by_time_the_newest_rows_are_the_test(run_step: RunStep, tmp_path: Path) -> None:
    rows = make_rows(100)
    rows["time"] = [f"2026-0{1 + n // 28}-{1 + n % 28:02d}T08:00:00" + ("Z" if n % 2 else "+00:00") for n in range(100)]
    parts = read_splits(run_split(run_step, tmp_path, rows, mode="time", near_duplicate_threshold=0))
    assert [sorted(part["id"], key=lambda i: int(i[1:])) for part in parts.values()] == [
        [f"r{n}" for n in range(70)],
        [f"r{n}" for n in range(70, 80)],
        [f"r{n}" for n in range(80, 100)],
    ]


def test_by_time_a_group_lies_where_its_newest_row_lies(run_step: RunStep, tmp_path: Path) -> None:
    rows = make_rows(100)
    rows["time"] = [str(n) for n in range(100)]
    rows["group"] = ["early and late" if n in (3, 95) else None for n in range(100)]
    folder = run_split(run_step, tmp_path, rows, mode="time", near_duplicate_threshold=0)
    parts = read_splits(folder)
    assert {"r3", "r95"} <= set(parts["test"]["id"])
    newest = {name: part["time"].astype(int).max() for name, part in parts.items()}
    assert newest["train"] < newest["validation"] < newest["test"]
    assert account_of(folder)["time"]["train"] == {"oldest": "0", "newest": str(newest["train"])}


@pytest.mark.parametrize("per_day", [3, 20, 40])
def test_by_time_rows_of_one_time_stay_together(per_day: int, run_step: RunStep, tmp_path: Path) -> None:
    rows = make_rows(300)
    days = pd.date_range("2026-01-01", periods=300 // per_day + 1).strftime("%Y-%m-%d")
    rows["time"] = [days[n // per_day] for n in range(300)]
    rows = rows.sample(frac=1, random_state=1, ignore_index=True)
    parts = read_splits(run_split(run_step, tmp_path, rows, mode="time", near_duplicate_threshold=0))
    train, validation, test = (set(parts[name]["time"]) for name in SPLITS)
    assert max(train) < min(validation)
    assert max(validation) < min(test)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({7: "soon"}, ["the time of 1 of 90 rows is no number, as most have: 'soon' in row r7"]),
        ({7: "2026-01-01"}, ["no number", "'2026-01-01' in row r7"]),
        ({7: "inf", 8: None, 9: ""}, ["3 of 90 rows", "in row r7", "in row r8", "in row r9"]),
        (dict.fromkeys(range(89), "2026-01-01T00:00:00"), ["no time in ISO 8601, as most have", "in row r89"]),
        ({n: f"t{n}" for n in range(90)}, ["neither a number nor a time in ISO 8601", "and 87 more"]),
        ({n: str(1_767_225_600_000 + n) for n in range(5)}, ["seconds and milliseconds since 1970", "in row r0"]),
        ({n: str(1_767_225_600_000 + n) for n in range(50)}, ["milliseconds and seconds since 1970", "in row r50"]),
    ],
)
def test_a_wrong_time_is_named_with_its_row(
    times: dict[int, str | None], words: list[str], run_step: RunStep, tmp_path: Path
) -> None:
    rows = make_rows(90)
    rows["time"] = [times.get(n, str(1_767_225_600 + n)) for n in range(90)]
    data = write_dataset(tmp_path / "data", rows)
    code, _, error = run_step("split", {"mode": "time"}, dataset=data, splits=tmp_path / "splits")
    assert code == 3
    for word in words:
        assert word in error


def test_by_time_beside_a_predefined_test(run_step: RunStep, tmp_path: Path) -> None:
    rows = make_rows(100)
    rows["time"] = [str(n) for n in range(100)]
    rows["split"] = ["test" if n < 20 else None for n in range(100)]
    parts = read_splits(run_split(run_step, tmp_path, rows, mode="time", near_duplicate_threshold=0))
    assert set(parts["test"]["id"]) == {f"r{n}" for n in range(20)}
    assert set(parts["validation"]["id"]) == {f"r{n}" for n in range(90, 100)}


def _only_in_test(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(
        split=["test" if n > 70 else None for n in range(90)],
        label=["novel" if n > 85 else label for n, label in enumerate(rows["label"])],
    )


BAD = [
    (lambda r: r, {"validation_share": 0.5, "test_share": 0.5}, 2, "must be below 1"),
    (lambda r: r, {"near_duplicate_threshold": 0.2}, 2, "0 (off) or from 0.5 to 1"),
    (lambda r: r, {"mode": "random", "test_share": 0, "seeds": 3}, 2, "3 parameters are wrong"),
    (lambda r: r, {"mode": "time"}, 2, "no column time"),
    (lambda r: r.assign(time="next week"), {"mode": "time"}, 3, "'next week' in row r0"),
    (lambda r: r.assign(time=[None, *["2026-01-01"] * 89]), {"mode": "time"}, 3, "1 of 90 rows"),
    (lambda r: r.assign(label="card"), {}, 3, "all 90 rows have the label 'card'"),
    (lambda r: r.assign(label=["scarce", *r["label"][1:]]), {"rare_label": "reject"}, 3, "scarce"),
    (_only_in_test, {}, 3, "labels that occur in test and not in training: novel"),
    (lambda r: r.assign(split=["train", *[None] * 89]), {}, 3, "the column split holds train"),
    (lambda r: r.assign(split="test"), {}, 3, "no row is left to train on"),
    (lambda r: r.assign(id="same"), {}, 3, "row ids that occur twice: same"),
    (lambda r: r.assign(group="all"), {}, 3, "validation and test would have no rows"),
    (lambda r: r[:2], {}, 3, "would have no rows"),
    (lambda r: r.assign(text="the same text"), {"rare_label": "drop"}, 3, "would have no rows"),
]


@pytest.mark.parametrize(("change", "params", "code", "words"), BAD)
def test_bad_input(
    run_step: RunStep,
    tmp_path: Path,
    change: Callable[[pd.DataFrame], pd.DataFrame],
    params: dict,
    code: int,
    words: str,
) -> None:
    dataset = write_dataset(tmp_path / "dataset", change(make_rows(90)))
    found, output, errors = run_step("split", params, dataset=dataset, splits=tmp_path / "splits")
    assert found == code
    assert words in errors
    assert "Traceback" not in errors
    assert output == ""
    assert not (tmp_path / "splits").exists()


def test_a_dataset_that_was_changed_is_refused(run_step: RunStep, tmp_path: Path, rows: pd.DataFrame) -> None:
    dataset = write_dataset(tmp_path / "dataset", rows)
    data = dataset / "data.parquet"
    data.write_bytes(data.read_bytes()[:-4] + b"ABCD")
    code, _, errors = run_step("split", {}, dataset=dataset, splits=tmp_path / "splits")
    assert (code, "was changed after it was made" in errors) == (2, True)


def test_the_proof_sees_leaks(splits: Path, tmp_path: Path) -> None:
    parts = read_splits(splits)
    test = parts["test"].copy()
    test.loc[test.index[:3], "text"] = parts["train"]["text"][:3].str.upper().to_numpy()
    test.loc[test.index[3], "text"] = parts["validation"]["text"].iloc[0] + "s"
    proof = shared_between({**parts, "test": test}, 0.8, use_group=True)
    assert proof["shared_texts"] == 3
    assert proof["near_duplicate_pairs"] >= 4
    for name, part in {**parts, "test": test}.items():
        write_rows(part, tmp_path / f"{name}.parquet")
    with pytest.raises(RuntimeError, match="the splits leak"):
        _proof(tmp_path, Params())


@pytest.mark.real_data
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="../shared/data is not there")
def test_banking77_is_split_within_rounding_and_without_leaks(run_step: RunStep, tmp_path: Path) -> None:
    rows = pd.read_csv(REAL_DATA / "banking77" / "train.csv", dtype=str)
    rows.insert(0, "id", [f"r{n:05}" for n in range(len(rows))])
    account = account_of(run_split(run_step, tmp_path, rows))
    assert account["largest_deviation"]["rows"] <= 1
    assert account["rows"]["train"] == pytest.approx(0.7 * len(rows), abs=len(rows) * 0.002)
    assert account["groups"]["joined_rows"] > 300


def _jaccard(left: str, right: str) -> float:
    a, b = shingles(left), shingles(right)
    return len(a & b) / len(a | b)


def _near(texts: list[str], pair: tuple[int, int], threshold: float) -> bool:
    a, b = shingles(texts[pair[0]]), shingles(texts[pair[1]])
    return len(a & b) >= threshold * len(a | b)
