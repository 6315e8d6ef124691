"""python -m cli.project.code FOLDER: a file for each step with the digest of its code, so that DVC runs what an update changed.

In fineline's own checkout DVC looks at the code itself; a project of `fineline new` has none.
"""

import hashlib
import sys
from pathlib import Path

import components
import fineline
from fineline.artifacts.folders import sha256_file


def digest(step: str) -> str:
    """sha256, hex, of the files of `step` and of those that all steps share."""
    folders = [*(Path(place) / step for place in components.__path__), *map(Path, fineline.__path__)]
    files = {
        f"{folder.name}/{path.relative_to(folder).as_posix()}": path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in (".py", ".jinja")
    }
    listed = "".join(f"{name} {sha256_file(files[name])}\n" for name in sorted(files))
    return hashlib.sha256(listed.encode()).hexdigest()


def main(folder: Path) -> None:
    """Writes the files into `folder`, named like the steps."""
    folder.mkdir(parents=True, exist_ok=True)
    for place in components.__path__:
        for step in Path(place).glob("*/step.py"):
            (folder / step.parent.name).write_text(digest(step.parent.name) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
