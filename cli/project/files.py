"""The files of a project of one's own: params.yaml, dvc.yaml, .gitignore, README.md, and the data where it is copied."""

import csv
import gzip
import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import components
from cli.project.look_at_data import Look
from cli.project.params import Blocks
from fineline.process.errors import ResourceError, UsageError
from pipelines.blocks import STEPS

COPIED = 50_000_000
"""Bytes of a file that is copied into the project at most; a larger one, a folder, a pattern or an address is read in place."""

_IGNORED = """\
/artifacts/
/.fineline/
/build/
/mlruns/
/mlartifacts/
/mlflow.db*
/dvc_plots/
.venv/
"""
_DVC_YAML = """\
# The pipeline: one stage per step. `dvc repro` runs what changed. `python` is that of the environment where fineline is
# installed, which the shell has activated. Written by `fineline new`; add stages of your own as you like.

vars:
  - python: python

stages:
  code:
    # The steps' code is installed elsewhere: this says which it is, so that DVC runs again what an update of fineline changed.
    cmd: ${python} -m cli.project.code artifacts/code
    always_changed: true
    outs: [artifacts/code]

"""
_PARAMS = """\
# What differs from the defaults, one block per step; every parameter, its default and its meaning: docs/parameters.md of
# fineline. Unknown names are errors. Try one: dvc exp run -S ++train.epochs=4
"""
_README = """\
# {name}

A model of fineline, trained on `{source}` ({rows}).

    dvc repro                # runs what changed: reads, checks, splits, trains, quantizes, evaluates, registers, promotes
    fineline summary         # what came out
    fineline predict "a text to label"
    fineline doctor          # is this machine fit, is this project consistent

They need the environment where fineline is installed, activated in the shell.

| what | where |
|---|---|
| what differs from the defaults | `params.yaml`; all parameters: docs/parameters.md of fineline |
| is the data good | `artifacts/quality/report.html` |
| is the model good | `artifacts/report/report.html` |
| rows that could not be read | `artifacts/dataset/quarantine.jsonl` |

`dvc exp run -S ++train.epochs=4` tries a parameter, `dvc exp show` compares; both need a first commit: `git add . && git commit`.
"""


def checkout() -> Path:
    """Where fineline is installed from: its checkout. Raises UsageError where there is none (an image, a wheel)."""
    folder = Path(next(iter(components.__path__))).parent
    if not (folder / "dvc.yaml").is_file():
        raise UsageError(
            f"fineline is not installed from its checkout, but in {folder}",
            "pip install -e CHECKOUT, then call it again",
        )
    return folder


def params_yaml(blocks: Blocks, why: Mapping[str, str]) -> str:
    """The parameters that differ, a block for each step that DVC or a command asks for, with the reason above it."""
    import yaml

    parts = [_PARAMS]
    for name in [*STEPS, "monitor", "decide"]:
        comment = f"# {why[name]}\n" if name in why else ""
        text = yaml.safe_dump({name: blocks.get(name, {})}, sort_keys=False, allow_unicode=True, width=1_000)
        parts.append(f"{comment}{text}")
    return "\n".join(parts)


def dvc_yaml() -> str:
    """The stages of fineline's own dvc.yaml, where each looks at the digest of its code."""
    text = (checkout() / "dvc.yaml").read_text(encoding="utf-8")
    _head, _, stages = text.partition("stages:\n")
    return _DVC_YAML + re.sub(r"components/(\w+), fineline\b", r"artifacts/code/\1", stages)


def write_project(
    folder: Path, blocks: Blocks, why: Mapping[str, str], copies: Mapping[Path, Path], seen: Look
) -> None:
    """Writes everything into `folder`, which is new and appears when it is whole, and makes it a project of git and DVC.

    `why` has the reasons for `blocks`; `copies` says which files go where in the folder, and each begins with the columns'
    names where the file has none. Raises ResourceError where git or DVC fails.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        project = Path(beside, folder.name)
        (project / "data").mkdir(parents=True)
        rows = f"{seen.rows:,} rows" + (" or more" if seen.more else "")
        readme = _README.format(name=folder.name, source=blocks["pin"]["source"], rows=rows)
        files = {
            "params.yaml": params_yaml(blocks, why),
            "dvc.yaml": dvc_yaml(),
            ".gitignore": _IGNORED,
            "README.md": readme,
        }
        for name, text in files.items():
            (project / name).write_text(text, encoding="utf-8")
        shutil.copyfile(checkout() / "data" / "lexicon.tsv", project / "data" / "lexicon.tsv")  # as in the images
        for source, target in copies.items():
            _copy(source, project / target, seen)
        _versioned(project, [str(target) for target in copies.values()])
        project.rename(folder)


def _copy(source: Path, target: Path, seen: Look) -> None:
    if not seen.names:
        shutil.copyfile(source, target)
        return
    line = io.StringIO()
    delimiter = seen.how.delimiter or ("\t" if seen.files[0].suffix == ".tsv" else ",")
    csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow(seen.names)
    packed = source.name.endswith(".gz")
    data = gzip.decompress(source.read_bytes()) if packed else source.read_bytes()
    text = data.decode(seen.how.encoding, "surrogateescape").removeprefix("\ufeff")
    data = (line.getvalue() + text).encode(seen.how.encoding, "surrogateescape")
    target.write_bytes(gzip.compress(data, mtime=0) if packed else data)


def _versioned(folder: Path, data: list[str]) -> None:
    """Makes `folder` a repository of git and DVC where it lies in none (fineline's own checkout counts as none), and gives the
    data to DVC, so that git keeps no texts."""
    if not shutil.which("git"):
        raise ResourceError("git is not installed, without which DVC stops", "install it; nothing was written")
    above = _said(folder, "git", "rev-parse", "--show-toplevel")
    own = not above or Path(above).resolve() == checkout().resolve()
    if own:
        _run(folder, "git", "init", "--quiet")
    dvc = [sys.executable, "-m", "dvc"]
    if own or not any((parent / ".dvc").is_dir() for parent in folder.absolute().parents):
        _run(folder, *dvc, "init", "--quiet", *([] if own else ["--subdir"]))
        (folder / ".dvc" / "config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    if data:
        _run(folder, *dvc, "add", "--quiet", *data)


def _said(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        words = " ".join(Path(word).name if word == sys.executable else word for word in command)
        raise ResourceError(
            f"{words} failed: {said[-1] if said else done.returncode}", "mend that; nothing was written"
        )
