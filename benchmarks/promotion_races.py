"""python benchmarks/promotion_races.py --store sqlite --rounds 50

Four promoters at once against a real MLflow server, round after round, with bundles of known quality. In every fifth round
they register and promote at the same moment on a model that nobody registered yet; in the others all is registered, a weak
version is champion, and they promote. Every round must end with the best eligible version as champion, a ledger without
contradiction, one version per bundle, and a frozen test set that holds the rows of all.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pandas as pd

from components.promote import test_set
from components.promote.params import Params as PromoteParams
from components.register.params import Params as RegisterParams
from fineline.artifacts.folders import read_manifest
from fineline.process.errors import ResourceError
from fineline.registry import ledger, model_versions
from fineline.registry.ledger_state import copies
from fineline.steps.command_line import quiet_libraries
from fineline.tracking import connection
from tests.mlflow_server import postgresql, running
from tests.word_bundle import answers_of, some, word_rows, write_report, write_word_bundle, write_word_splits

PROMOTERS = 4
SHARED = "shared"
TEST_ROWS = 300
EXTRA_ROWS = 20
PROMOTE = PromoteParams.model_validate({"max_latency_ratio": 0, "bootstrap": 200, "speed_texts": 1, "speed_rounds": 1})
WRONG = {"weak": 150, "better": 90, "best": 30, "refused": 0}
"""Answers that each model gets wrong on the 340 test rows. `refused` would be the best: its gate, or a person, said no."""
FRESH = (("better", "best", "best", "weak"), ("best", "refused", "best", "better"))
"""What the four promoters carry when they race on a model that nobody registered yet; two always carry the same bundle."""
AGAIN = ("better", "best", "best", "refused")
"""What they carry when all is registered and the champion is weak: most rounds, on one model, whose ledger grows."""
FRESH_EVERY = 5

_TRIES = 5


def main() -> int:
    flags = _flags()
    with tempfile.TemporaryDirectory(prefix="fineline-races-") as temporary, contextlib.ExitStack() as stack:
        store = stack.enter_context(postgresql()) if flags.store == "postgresql" else ""
        server = stack.enter_context(running(Path(temporary) / "server", store, flags.workers))
        found = race(Path(temporary) / "work", server.uri, flags.rounds)
    print(f"{flags.store}: {json.dumps(found)}")
    return 1 if found["contradictions"] else 0


def race(folder: Path, uri: str, rounds: int) -> dict[str, Any]:
    """Runs the rounds; gives rounds, seconds, contradictions (what was wrong), and how the rounds went."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    quiet_libraries()
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    inputs = _inputs(folder, rounds)
    _register_all(inputs)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROMOTERS + 1)
    results: Any = context.Queue()
    workers = [
        context.Process(target=_promoter, args=(number, folder, inputs, barrier, results), daemon=True)
        for number in range(PROMOTERS)
    ]
    for worker in workers:
        worker.start()
    contradictions: list[str] = []
    tries: Counter[int] = Counter()
    champions: Counter[int] = Counter()
    started = 0.0
    for turn, (name, carried) in enumerate(inputs["rounds"]):
        before = _weak_again() if name == SHARED else 0
        barrier.wait(timeout=300)
        started = started or time.monotonic()
        for _ in range(PROMOTERS):
            number, count, problem = results.get(timeout=300)
            tries[count] += 1
            contradictions += [f"round {turn}, promoter {number}: {problem}"] if problem else []
        problems, moves = _check(name, [bundle for bundle, _, _ in carried], inputs["ids"], before)
        contradictions += [f"round {turn}: {problem}" for problem in problems]
        champions[moves] += 1
        print(
            f"round {turn + 1} of {rounds}: {moves} moves, {problems or 'as it should be'}", file=sys.stderr, flush=True
        )
    for worker in workers:
        worker.join(timeout=60)
    return {
        "rounds": rounds,
        "seconds": round(time.monotonic() - started, 1),
        "contradictions": contradictions,
        "rounds_by_moves_of_the_champion": dict(sorted(champions.items())),
        "promoters_by_tries": dict(sorted(tries.items())),
    }


def _inputs(folder: Path, rounds: int) -> dict[str, Any]:
    """Two splits whose test rows differ in some; for each round the model's name and what the promoters carry, as
    (bundle, report, splits); and all of them for the shared model."""
    rows = word_rows(TEST_ROWS + 2 * EXTRA_ROWS + 100)
    judged, train = rows[: TEST_ROWS + 2 * EXTRA_ROWS], rows[TEST_ROWS + 2 * EXTRA_ROWS :]
    own = [judged[TEST_ROWS : TEST_ROWS + EXTRA_ROWS], judged[TEST_ROWS + EXTRA_ROWS :]]
    splits = [
        write_word_splits(folder / f"splits{i}", train, pd.concat([judged[:TEST_ROWS], more]))
        for i, more in enumerate(own)
    ]

    def made(at: Path, qualities: set[str], refused: bool) -> dict[str, tuple[Path, Path, Path]]:
        found = {}
        for number, quality in enumerate(sorted(qualities)):
            answers = answers_of(judged, some(WRONG[quality], len(judged), seed=1))
            bundle = write_word_bundle(at / quality, answers, splits=splits[number % 2], note=f"{quality} {at.name}")
            report = write_report(at / f"{quality}-report", bundle, passed=quality != "refused" or not refused)
            found[quality] = (bundle, report, splits[number % 2])
        return found

    shared = made(folder / SHARED, set(WRONG), refused=False)
    carried = []
    for turn in range(rounds):
        if turn % FRESH_EVERY:
            carried.append((SHARED, [shared[quality] for quality in AGAIN]))
            continue
        qualities = FRESH[turn // FRESH_EVERY % 2]
        fresh = made(folder / f"fresh-{turn}", set(qualities), refused=True)
        carried.append((f"fresh-{turn}", [fresh[quality] for quality in qualities]))
    return {"rounds": carried, "shared": shared, "ids": set(judged["id"]), "folder": folder}


def _register_all(inputs: dict[str, Any]) -> None:
    """Registers all four qualities under the shared name, the weak one first, and refuses one."""
    from components.register import step as register

    for quality in WRONG:
        bundle, report, splits = inputs["shared"][quality]
        register.run(
            params=RegisterParams(name=SHARED),
            bundle=bundle,
            report=report,
            splits=splits,
            registration=_registration(inputs, bundle, "shared"),
        )
    ledger.reject(connection.client(), SHARED, 4, "to see that it stays out")


def _weak_again() -> int:
    """Puts the weak version in the champion's place; gives the number of lines in the ledger."""
    ledger.move(
        connection.client(), SHARED, model_versions.CHAMPION, 1, verdict="forced", reason="the next round begins"
    )
    return len(ledger.read(connection.client(), SHARED))


def _registration(inputs: dict[str, Any], bundle: Path, promoter: int | str) -> Path:
    return inputs["folder"] / "registrations" / f"{bundle.parent.name}-{bundle.name}-{promoter}"


def _promoter(number: int, folder: Path, inputs: dict[str, Any], barrier: Any, results: Any) -> None:
    """One promoter: in every round what a pipeline does after evaluate, at the same moment as the others."""
    from components.promote import step as promote
    from components.register import step as register

    for turn, (name, carried) in enumerate(inputs["rounds"]):
        bundle, report, splits = carried[number]
        registration = _registration(inputs, bundle, "shared" if name == SHARED else number)
        barrier.wait(timeout=300)
        tries, problem = 0, "not tried"
        while problem and tries < _TRIES:
            tries, problem = tries + 1, ""
            try:
                if name != SHARED:
                    params = RegisterParams(name=name)
                    register.run(params=params, bundle=bundle, report=report, splits=splits, registration=registration)
                out = folder / "promotions" / f"{turn}-{number}"
                promote.run(params=PROMOTE, bundle=bundle, registration=registration, splits=splits, promotion=out)
            except ResourceError as error:  # the server was too busy: what people and schedulers do is run it again
                problem = error.what
                print(f"promoter {number}, round {turn}, try {tries}: {problem}", file=sys.stderr, flush=True)
            except Exception:  # noqa: BLE001  anything else is a finding, and the other promoters go on
                problem = traceback.format_exc()
                break
        results.put((number, tries, problem))


def _check(name: str, carried: list[Path], ids: set[str], before: int) -> tuple[list[str], int]:
    """What is wrong after a round on a model whose ledger had `before` lines, and how often the champion moved in it."""
    server = connection.client()
    found = {int(version.version): version for version in server.search_model_versions(f"name='{name}'")}
    shas = Counter(version.tags[model_versions.SHA256] for version in found.values())
    sha = {path.name: read_manifest(path).digest.removeprefix("sha256:") for path in carried}
    lines = ledger.read(server, name)
    aliases = ledger.aliases(server, name)
    model = server.get_registered_model(name)
    problems = []

    def expect(truth: bool, problem: str) -> None:
        if not truth:
            problems.append(problem)

    champion = aliases.get(model_versions.CHAMPION)
    expect(champion in found and found[champion].tags[model_versions.SHA256] == sha["best"], f"champion {champion}")
    if name != SHARED:
        expect(
            set(shas) == {digest for quality, digest in sha.items() if quality != "refused"}, "other bundles registered"
        )
    expect(max(shas.values()) == 1, f"versions of one bundle: {shas}")
    expect([line["number"] for line in lines] == list(range(1, len(lines) + 1)), "numbers")
    for alias in aliases:
        chain = [line for line in lines if line["alias"] == alias]
        expect([line["from"] for line in chain] == [None, *(line["to"] for line in chain[:-1])], f"chain of {alias}")
        expect(chain[-1]["to"] == aliases[alias], f"{alias} is at {aliases[alias]}, ledger {chain[-1]['to']}")
        expect(all(line["from"] != line["to"] for line in chain), f"a move of {alias} to where it was")
    kept = copies(server.get_run(model.tags[ledger.RUN_TAG]).data.params)
    expect({tag: model.tags.get(tag) for tag in kept} == kept, "tags differ from the entries")
    with tempfile.TemporaryDirectory() as temporary:
        file = server.download_artifacts(model.tags[ledger.RUN_TAG], ledger.FILE, temporary)
        expect(
            [json.loads(line) for line in Path(file).read_text().splitlines()] == lines,
            "the file differs from the lines",
        )
    judged = set(test_set.fetch(server, name, test_set.newest(server, name))["id"])
    expect(judged == ids, f"{len(judged)} of {len(ids)} rows in the test set")
    return problems, sum(line["alias"] == model_versions.CHAMPION for line in lines[before:])


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--workers", type=int, default=1, help="processes of the MLflow server (1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
