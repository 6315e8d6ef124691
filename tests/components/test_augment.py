"""The step augment: what each method changes, how labels grow, what is dropped, and that off changes nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pandas as pd
import pytest

from components.augment.contextual import open_masked_model, substituted
from components.augment.eda import EDA, delete, insert, read_lexicon, swap, synonym
from components.augment.growth import grow, targets_of
from components.augment.words import joined, words_of
from fineline.artifacts import folders
from fineline.rows.dataset import read_splits
from fineline.texts.sameness import normalise, shingles
from tests.conftest import PROJECT, REAL_DATA, files_of, make_rows, write_model, write_splits

RunStep = Callable[..., tuple[int, str, str]]

FILES = {
    "train.parquet",
    "validation.parquet",
    "test.parquet",
    "split.json",
    "augment.json",
    "manifest.json",
    "run.json",
}
TEXT = "My card ending 4421 was refused, twice, so write to <EMAIL> or call +44 20 7946 0000 PLEASE."
FIXED = ["4421", "<EMAIL>", "+44", "20", "7946", "0000"]


@pytest.fixture
def lexicon(tmp_path: Path) -> Path:
    path = tmp_path / "lexicon.tsv"
    path.write_text("card\tplastic\nplease\tkindly,pray\nrefused\tdeclined, rejected\nwhy\thow come\nnot\tnever\n")
    return path


@pytest.fixture(scope="module")
def masked_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("masked") / "masked_lm", head="masked_lm")


@pytest.fixture(scope="module")
def unbalanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Splits whose training labels have 35 (card), 20 (login) and 10 (transfer) rows."""
    train = make_rows(105)
    keep = {"card": 35, "login": 20, "transfer": 10}
    train = train[train.groupby("label").cumcount() < train["label"].map(keep)]
    rest = make_rows(28, seed=9).assign(id=[f"h{n}" for n in range(28)])
    return write_splits(tmp_path_factory.mktemp("unbalanced") / "splits", pd.concat([train, rest], ignore_index=True))


def run_augment(run_step: RunStep, splits: Path, target: Path, **params: object) -> Path:
    """Augments `splits` into `target`; the step must end well."""
    code, _, errors = run_step("augment", params, splits=splits, augmented=target)
    assert code == 0, errors
    return target


def account_of(folder: Path) -> dict:
    return json.loads((folder / "augment.json").read_text())


def test_off_passes_every_file_through(run_step: RunStep, tmp_path: Path, splits: Path) -> None:
    folder = run_augment(run_step, splits, tmp_path / "augmented")
    assert files_of(folder) == FILES
    for name in ("train.parquet", "validation.parquet", "test.parquet", "split.json"):
        assert (folder / name).read_bytes() == (splits / name).read_bytes()
    account = account_of(folder)
    assert account["enabled"] is False
    assert account["rows"] == {"before": 105, "after": 105}
    assert account["labels"]["card"] == {"before": 35, "target": 35, "after": 35}
    manifest = folders.verify(folder)
    assert (manifest.kind, manifest.step, manifest.task) == ("splits", "augment", "single_label")
    assert [entry["step"] for entry in manifest.ancestors] == ["split"]


def test_rare_labels_grow_to_the_target(run_step: RunStep, tmp_path: Path, unbalanced: Path, lexicon: Path) -> None:
    params = {"enabled": True, "target_share": 0.8, "lexicon": str(lexicon), "max_new_per_row": 8}
    folder = run_augment(run_step, unbalanced, tmp_path / "augmented", **params)
    assert files_of(folder) == FILES
    for name in ("validation.parquet", "test.parquet", "split.json"):
        assert (folder / name).read_bytes() == (unbalanced / name).read_bytes()
    account = account_of(folder)
    before = read_splits(unbalanced)["train"]
    counts = before["label"].value_counts()
    target = round(0.8 * counts.max())
    assert account["labels"] == {
        label: {"before": count, "target": max(count, target), "after": max(count, target)}
        for label, count in counts.items()
    }
    train = read_splits(folder)["train"]
    old, new = train[: len(before)], train[len(before) :]
    pd.testing.assert_frame_equal(old[list(before.columns)], before)
    assert old["parent_id"].isna().all()
    assert old["method"].isna().all()
    assert train["id"].is_unique
    assert train["text"].map(normalise).is_unique
    parents = before.set_index("id").loc[new["parent_id"]]
    assert (parents["label"].to_numpy() == new["label"].to_numpy()).all()
    assert (parents["channel"].to_numpy() == new["channel"].to_numpy()).all()
    assert (parents["text"].to_numpy() != new["text"].to_numpy()).all()
    assert new["parent_id"].value_counts().max() <= 8
    for row in new.itertuples():
        assert row.id.startswith(f"{row.parent_id}~{row.method}")
    made = new["method"].value_counts().to_dict()
    assert made == {method: entry["made"] for method, entry in account["methods"].items() if entry["made"]}
    assert set(made) == {"swap", "delete", "insert", "synonym"}


def test_same_input_same_bytes_and_another_seed_other_rows(
    run_step: RunStep, tmp_path: Path, unbalanced: Path, lexicon: Path, masked_lm: Path
) -> None:
    params = {"enabled": True, "target_share": 1, "lexicon": str(lexicon), "contextual_model": str(masked_lm)}
    params["methods"] = ["contextual", "synonym", "delete"]
    digests = [
        folders.verify(run_augment(run_step, unbalanced, tmp_path / name, seed=seed, **params)).digest
        for name, seed in (("one", 13.0), ("two", 13), ("three", 14))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_the_manifest_names_sources_by_digest_and_no_place(
    run_step: RunStep, tmp_path: Path, unbalanced: Path, lexicon: Path, masked_lm: Path
) -> None:
    params = {"enabled": True, "methods": ["contextual", "insert"], "contextual_model": str(masked_lm)}
    folder = run_augment(run_step, unbalanced, tmp_path / "augmented", lexicon=str(lexicon), **params)
    manifest = folders.read_manifest(folder)
    assert manifest.figures["sources"]["lexicon"] == "sha256:" + folders.sha256_file(lexicon)
    assert manifest.figures["sources"]["contextual"].startswith("sha256:")
    assert str(tmp_path) not in (folder / "manifest.json").read_text()


def test_rows_near_validation_or_test_are_dropped(run_step: RunStep, tmp_path: Path) -> None:
    """Each rare row of training has a longer sister in the validation split. 30 rows: 21, 4 and 5."""
    rare = [
        f"{word} has waited at the counter of the branch for nearly three quarters of an hour"
        for word in ("alpha", "bravo", "delta", "gamma")
    ]
    rows = pd.DataFrame(
        {
            "text": [f"common row number {n} about nothing {n * n}" for n in range(17)] + rare,
            "label": ["common"] * 17 + ["rare"] * 4,
        }
    )
    held = pd.DataFrame({"text": [text + " now" for text in rare] + ["something else"] * 5, "label": "rare"})
    rows = pd.concat([rows, held], ignore_index=True)
    rows.insert(0, "id", [f"r{n}" for n in range(len(rows))])
    splits = write_splits(tmp_path / "splits", rows)
    params = {
        "enabled": True,
        "methods": ["swap", "delete"],
        "target_share": 1,
        "max_new_per_row": 3,
        "change_share": 0.05,
    }
    folder = run_augment(run_step, splits, tmp_path / "augmented", **params)
    account = account_of(folder)
    assert sum(entry["near_held_out"] for entry in account["methods"].values()) > 0
    parts = read_splits(folder)
    held_out = [shingles(text) for name in ("validation", "test") for text in parts[name]["text"]]
    new = parts["train"][parts["train"]["parent_id"].notna()]
    near = [text for text in new["text"] for s in held_out if len(s & shingles(text)) >= 0.8 * len(s | shingles(text))]
    assert near == []
    off = run_augment(run_step, splits, tmp_path / "off", near_duplicate_threshold=0, **params)
    assert account_of(off)["labels"]["rare"]["after"] > account["labels"]["rare"]["after"]


def test_texts_equal_to_held_out_or_training_texts_are_dropped() -> None:
    new, counts = grow(
        ["a", "b", "c", "d"],
        ["one two", "three four", "five", "six"],
        [["rare"], ["rare"], ["big"], ["big"]],
        ["Four  THREE"],
        targets={"rare": 8, "big": 2},
        makers={"swap": lambda texts, rngs: [swap(t, 0.1, {}, r) for t, r in zip(texts, rngs, strict=True)]},
        max_new_per_row=2,
        threshold=0,
        seed=1,
    )
    assert [(row.id, row.parent, row.text) for row in new] == [("a~swap1", 0, "two one")]
    assert (counts["swap"].made, counts["swap"].same_text, counts["swap"].near_held_out) == (1, 1, 2)


def test_targets_rarest_label_first() -> None:
    assert targets_of({"a": 100, "b": 7, "c": 60}, 0.5) == {"b": 50, "c": 60, "a": 100}
    assert list(targets_of({"a": 100, "b": 7, "c": 60}, 0.5)) == ["b", "c", "a"]
    assert targets_of({"a": 10, "b": 4}, 2) == {"b": 20, "a": 20}


@pytest.mark.parametrize("method", sorted(EDA))
def test_placeholders_and_numbers_are_left_alone(method: str, lexicon: Path) -> None:
    for number in range(40):
        text = EDA[method](TEXT, 0.5, read_lexicon(lexicon), Random(number))
        assert [piece for piece in text.split() if piece in FIXED] == FIXED
        assert text != TEXT or method == "swap"


def test_each_method_changes_its_share_of_words() -> None:
    text, synonyms = "one two three four five six seven eight nine ten", {"two": ["zwei"], "nine": ["neun"]}
    assert joined(words_of(text)) == text
    assert sorted(swap(text, 0.1, {}, Random(1)).split()) == sorted(text.split())
    assert sum(a != b for a, b in zip(swap(text, 0.1, {}, Random(1)).split(), text.split(), strict=True)) == 2
    assert len(delete(text, 0.3, {}, Random(1)).split()) == 7
    assert len(insert(text, 0.2, synonyms, Random(1)).split()) == 12
    assert set(insert(text, 0.2, synonyms, Random(1)).split()) - set(text.split()) <= {"zwei", "neun"}
    assert synonym(text, 0.2, synonyms, Random(1)) == text.replace("two", "zwei").replace("nine", "neun")
    assert synonym(text, 0.01, synonyms, Random(1)).split() != text.split()


def test_a_synonym_keeps_case_and_punctuation() -> None:
    assert (
        synonym('"Card," PLEASE!', 1.0, {"card": ["plastic"], "please": ["kindly"]}, Random(0)) == '"Plastic," KINDLY!'
    )


@pytest.mark.parametrize(
    ("method", "text"), [("swap", "hello 12"), ("delete", "hello"), ("insert", "xyz"), ("synonym", "")]
)
def test_where_nothing_can_change_there_is_no_text(method: str, text: str, lexicon: Path) -> None:
    assert EDA[method](text, 0.1, read_lexicon(lexicon), Random(0)) == ""


def test_contextual_puts_whole_words_in_place(masked_lm: Path) -> None:
    masked = open_masked_model(str(masked_lm), "")
    texts = ["My card 4421 is <EMAIL> blocked, please!", "12 34", "transfer " * 80 + "end", "a [MASK] here"]
    found = substituted(masked, 0.5, 10, texts, [Random(n) for n in range(4)])
    assert found[1] == found[3] == ""
    pieces = found[0].split()
    assert len(pieces) == 7
    assert (pieces[2], pieces[4]) == ("4421", "<EMAIL>")
    assert pieces[5].endswith(",")
    assert found[0] != texts[0]
    assert len(found[2].split()) == 81  # longer than the model: what is cut off stays
    vocabulary = {word for word in masked.words if word}
    changed = [b for a, b in zip(texts[0].split(), pieces, strict=True) if a != b]
    assert changed
    assert all(word.strip(",!").casefold() in vocabulary for word in changed)
    assert not any("#" in word or "[" in word for word in vocabulary)


BAD_LEXICA = [
    (b"card\n", "line 1: 'card' is no entry"),
    (b"card\tplastic\n\tword\n", "line 2"),
    (b"card\tplastic\tmetal\n", "line 1"),
    (b"card\tcard\n\n", "has no entry"),
    (b"", "has no entry"),
    (b"caf\xe9\tbar\n", "is not UTF-8"),
]


@pytest.mark.parametrize(("content", "words"), BAD_LEXICA)
def test_bad_lexicon(run_step: RunStep, tmp_path: Path, splits: Path, content: bytes, words: str) -> None:
    (tmp_path / "bad.tsv").write_bytes(content)
    _refused(run_step, splits, tmp_path, {"enabled": True, "lexicon": str(tmp_path / "bad.tsv")}, 2, words)


BAD = [
    ({"enabled": True, "lexicon": "nowhere.tsv"}, 2, "nowhere.tsv does not exist"),
    ({"enabled": True, "methods": ["contextual"]}, 2, "contextual needs contextual_model"),
    ({"enabled": True, "methods": ["swap", "swap"]}, 2, "methods names one twice"),
    ({"enabled": True, "methods": []}, 2, "methods"),
    ({"target_share": 0, "change_share": 2, "topk": 5}, 2, "3 parameters are wrong"),
    ({"near_duplicate_threshold": 0.3}, 2, "0 (only equal texts) or from 0.5 to 1"),
    ({"enabled": True, "methods": ["contextual"], "contextual_model": "./nowhere"}, 2, "./nowhere does not exist"),
    (
        {"enabled": True, "methods": ["contextual"], "contextual_model": "bundled:all-MiniLM-L6-v2"},
        2,
        "has no masked-language-model head",
    ),
    ({"enabled": True, "methods": ["contextual"], "contextual_model": "some/hub-model"}, 4, "some/hub-model"),
]


@pytest.mark.parametrize(("params", "code", "words"), BAD)
def test_bad_input(run_step: RunStep, tmp_path: Path, splits: Path, params: dict, code: int, words: str) -> None:
    _refused(run_step, splits, tmp_path, params, code, words)


def test_models_that_cannot_fill_in_words(
    run_step: RunStep, tmp_path: Path, splits: Path, pretrained: Path, model: Path
) -> None:
    for folder in (pretrained, model):
        params = {"enabled": True, "methods": ["contextual"], "contextual_model": str(folder)}
        _refused(run_step, splits, tmp_path, params, 2, "has no masked-language-model head")
    gpt = tmp_path / "gpt"
    gpt.mkdir()
    (gpt / "config.json").write_text('{"model_type": "gpt2"}')
    for name in ("tokenizer.json", "model.safetensors"):
        (gpt / name).write_bytes((pretrained / name).read_bytes())
    params = {"enabled": True, "methods": ["contextual"], "contextual_model": str(gpt)}
    _refused(run_step, splits, tmp_path, params, 2, "cannot fill in masked words")


def test_the_lexicon_of_the_project_reads() -> None:
    lexicon = read_lexicon(PROJECT / "data" / "lexicon.tsv")
    assert len(lexicon) > 400


@pytest.mark.real_data
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="../shared/data is not there")
def test_banking77_rare_labels_are_balanced(run_step: RunStep, tmp_path: Path) -> None:
    rows = pd.read_csv(REAL_DATA / "banking77" / "train.csv", dtype=str).sample(frac=1, random_state=0)
    rows.insert(0, "id", [f"r{n:05}" for n in range(len(rows))])
    splits = write_splits(tmp_path / "splits", rows)
    params = {"enabled": True, "target_share": 0.8, "max_new_per_row": 8}
    params["lexicon"] = str(PROJECT / "data" / "lexicon.tsv")
    account = account_of(run_augment(run_step, splits, tmp_path / "augmented", **params))
    assert [label for label, entry in account["labels"].items() if entry["after"] != entry["target"]] == []
    assert account["rows"]["after"] > account["rows"]["before"] + 1000


def _refused(run_step: RunStep, splits: Path, tmp_path: Path, params: dict, code: int, words: str) -> None:
    found, output, errors = run_step("augment", params, splits=splits, augmented=tmp_path / "augmented")
    assert (found, output) == (code, "")
    assert words in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "augmented").exists()
