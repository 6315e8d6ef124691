"""A bundle is what ships: model.onnx, tokenizer.json, bundle.json. This module runs it: ONNX Runtime and tokenizers, no torch."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np

from fineline.process import computing
from fineline.process.errors import ResourceError, UsageError
from fineline.process.progress import progress
from fineline.tasks import Task, get_task
from fineline.tasks.parts import UNCALIBRATED
from fineline.texts.cleaning import CleaningTokenizer

MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
CONFIG = "bundle.json"
CPU_BATCH = 16
"""Texts in one run on a CPU at most: activations of more leave its cache (docs/decisions/0016-int8-one-scale-per-token.md)."""
EMBEDDING = "sentence_embedding"  # the second output: what the head reads of each text

GOLDEN_TEXTS = (
    "",
    "hello",
    "Where is my order? I have been waiting for two weeks and nobody answers.",
    "The quick brown fox jumps over the lazy dog. 0123456789 äöü 漢字 🙂",
    "One sentence that is repeated until it is longer than any maximum length. " * 60,
)


@dataclasses.dataclass(frozen=True)
class Bundle:
    """An open bundle. `config` is bundle.json: task, labels, max_length, temperature, precision, inputs, golden.

    `threads` are at work: together on one batch, or, in int8, each on a batch of its own.
    With operations of `data_quality.clean` in its `cleaning`, the tokenizer reads texts as they leave them.
    """

    folder: Path
    config: dict[str, Any]
    task: Task
    tokenizer: Any
    session: Any
    threads: int

    @property
    def labels(self) -> list[str]:
        return self.config["labels"]

    @property
    def calibration(self) -> dict[str, Any]:
        """What of its outputs' way to answers was fitted."""
        return {name: self.config.get(name, value) for name, value in UNCALIBRATED.items()}

    @property
    def alone(self) -> bool:
        """Whether each text is a run of its own, whatever batch is asked for: in int8 bundles of before November 2026, which
        say nothing of their scales, these reach over the whole batch, and an answer would depend on its neighbours."""
        return self.config["precision"] == "int8" and "scales" not in self.config


def model_files(folder: Path) -> list[Path]:
    """The graph of a bundle and, beyond 2 GB, the file with its weights."""
    return [path for name in (MODEL, f"{MODEL}.data") if (path := folder / name).is_file()]


def open_tokenizer(path: Path, max_length: int) -> Any:
    """The tokenizer of a tokenizer.json, truncating at `max_length` tokens, not padding. Raises UsageError for another file."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001  tokenizers raises no other
        raise UsageError(f"{path} cannot be opened: {error}", "the file is damaged; make it again") from None
    tokenizer.enable_truncation(max_length)
    tokenizer.no_padding()
    return tokenizer


def open_bundle(folder: Path, threads: int = 0) -> Bundle:
    """Opens a bundle with `threads` threads (0: all cores): fp16 on a GPU where ONNX Runtime has one, all else on the CPU.

    Raises UsageError when the folder is no bundle.
    """
    import onnxruntime

    threads = threads or computing.cores()
    for name in (MODEL, TOKENIZER, CONFIG):
        if not (folder / name).is_file():
            raise UsageError(f"{folder} is no bundle: it has no {name}", "give the output of export_onnx or quantize")
    damaged = onnxruntime.capi.onnxruntime_pybind11_state
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        gpu = [gpu_provider()] if config["precision"] == "fp16" and gpu_provider() else []
        options = session_options(1 if config["precision"] == "int8" else threads)
        session = onnxruntime.InferenceSession(str(folder / MODEL), options, providers=[*gpu, "CPUExecutionProvider"])
    except (ValueError, damaged.Fail, damaged.InvalidGraph, damaged.InvalidProtobuf, damaged.NotImplemented) as error:
        raise UsageError(
            f"{folder} cannot be opened: {str(error).splitlines()[0][:200]}", "the bundle is damaged; make it again"
        ) from None
    tokenizer = open_tokenizer(folder / TOKENIZER, config["max_length"])
    if config.get("cleaning"):
        tokenizer = CleaningTokenizer(tokenizer, config["cleaning"])
    return Bundle(folder, config, get_task(config["task"]), tokenizer, session, threads)


def session_options(threads: int) -> Any:
    """onnxruntime.SessionOptions for runs of `threads` threads each, which do not spin (fineline/process/computing.py says why);
    warnings are silent."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def gpu_provider() -> str:
    """The GPU execution provider of the installed ONNX Runtime, or ''."""
    import onnxruntime

    return next((name for name in onnxruntime.get_available_providers() if name == "CUDAExecutionProvider"), "")


def logits(bundle: Bundle, texts: Sequence[str], batch_size: int = 64, what: str = "") -> np.ndarray:
    """Logits of `texts`, float32 (n, k), in their order; batches are formed by length. `what` names a progress bar."""
    return _outputs(bundle, [bundle.task.output], bundle.tokenizer.encode_batch(list(texts)), batch_size, what)[0]


def embeddings(
    bundle: Bundle, encodings: Sequence[Any], batch_size: int = 64, what: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """(what the model's head reads of each text, float32 (n, hidden); the logits that it makes of it, float32 (n, k)).

    `encodings` are those of the bundle's tokenizer; batches are as in `logits`. Raises UsageError when the graph does not
    give what its head reads.
    """
    if EMBEDDING not in {output.name for output in bundle.session.get_outputs()}:
        raise UsageError(
            f"{bundle.folder} does not give embeddings: its graph has no output {EMBEDDING}",
            "it was exported by an older version; run export_onnx and quantize again",
        )
    found = _outputs(bundle, [EMBEDDING, bundle.task.output], encodings, batch_size, what)
    return found[0], found[1]


def _outputs(
    bundle: Bundle, names: Sequence[str], encodings: Sequence[Any], batch_size: int, what: str
) -> list[np.ndarray]:
    """The graph's outputs `names`, float32 (n, width) each, in the order of `encodings`; batches are formed by length."""
    if bundle.session.get_providers() == ["CPUExecutionProvider"]:
        batch_size = 1 if bundle.alone else min(batch_size, CPU_BATCH)
    order = sorted(range(len(encodings)), key=lambda i: len(encodings[i].ids))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    widths = {output.name: output.shape[1] for output in bundle.session.get_outputs()}
    result = [np.zeros((len(encodings), widths[name]), dtype=np.float32) for name in names]
    inputs = ([encodings[i] for i in batch] for batch in batches)
    found = _runs(
        bundle, names, inputs, min(bundle.threads, len(batches)) if bundle.config["precision"] == "int8" else 1
    )
    for batch in progress(batches, what, total=len(encodings), unit="texts") if what else batches:
        for array, values in zip(result, next(found), strict=True):
            array[batch] = values
    return result


def _runs(
    bundle: Bundle, names: Sequence[str], batches: Iterator[Sequence[Any]], at_once: int
) -> Iterator[list[np.ndarray]]:
    """The graph's outputs `names` of each batch of encodings, in their order; `at_once` are computed at the same time."""

    def one(batch: Sequence[Any]) -> list[np.ndarray]:
        return bundle.session.run(list(names), feed(bundle, batch))

    if at_once <= 1:
        yield from map(one, batches)
        return
    with ThreadPool(at_once) as pool:
        yield from pool.imap(one, batches)


def run(bundle: Bundle, encodings: Sequence[Any]) -> np.ndarray:
    """Logits float32 (n, k) of one batch of encodings (tokenizers.Encoding), padded to the longest."""
    return bundle.session.run([bundle.task.output], feed(bundle, encodings))[0].astype(np.float32)


def feed(bundle: Bundle, encodings: Sequence[Any]) -> dict[str, np.ndarray]:
    """What the graph takes for one batch of encodings: int64 (n, longest) for each of its inputs."""
    longest = max(len(encoding.ids) for encoding in encodings)
    columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    arrays = {}
    for name in bundle.config["inputs"]:
        fill = bundle.config["pad_token_id"] if name == "input_ids" else 0
        padded = np.full((len(encodings), longest), fill, dtype=np.int64)
        for row, encoding in zip(padded, encodings, strict=True):
            row[: len(encoding.ids)] = getattr(encoding, columns[name])
        arrays[name] = padded
    return arrays


def answers(bundle: Bundle, texts: Sequence[str], batch_size: int = 64, what: str = "") -> np.ndarray:
    """The task's calibrated answers to `texts`; for single-label: probabilities, float64 (n, k)."""
    return bundle.task.answers(logits(bundle, texts, batch_size, what), bundle.calibration)


def predict(bundle: Bundle, texts: Sequence[str], batch_size: int = 64) -> list[dict[str, Any]]:
    """What a user gets for each text; for single-label: label, score and all probabilities."""
    if not texts:
        return []
    return [bundle.task.answer(row, bundle.labels) for row in answers(bundle, texts, batch_size)]


def golden(bundle: Bundle) -> list[list[float]]:
    """The scores of GOLDEN_TEXTS, rounded to 6 digits: what bundle.json keeps for `self_test`. No customer's text."""
    scores = bundle.task.scores(answers(bundle, GOLDEN_TEXTS, batch_size=1))
    return [[round(float(p), 6) for p in row] for row in scores]


def self_test(bundle: Bundle) -> None:
    """Raises ResourceError unless the bundle gives its golden probabilities again, within bundle.json's tolerance.

    int8 kernels differ between processors, hence a tolerance that is the maker's to set.
    """
    expected, found = np.array(bundle.config["golden"]), np.array(golden(bundle))
    difference = float(np.abs(expected - found).max()) if expected.shape == found.shape else float("inf")
    if not difference <= bundle.config["golden_tolerance"]:  # true of NaN too
        raise ResourceError(
            f"{bundle.folder} does not pass its self-test: probabilities differ by {difference:.4f} "
            f"(allowed {bundle.config['golden_tolerance']})",
            "the file or the machine's ONNX Runtime differs from where it was made; make the bundle again here",
        )
