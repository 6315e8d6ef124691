"""Writes build/sbom/<step>.json, the Python packages of each image that is there, as CycloneDX. Needs the dev extra.

.venv/bin/python docker/sbom.py
"""

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

from build import PROJECT, choose, find_engine, guarded, image
from fineline.process.errors import ResourceError

SBOM = PROJECT / "build" / "sbom"
PACKAGES = "/opt/venv/lib/python3.11/site-packages"


def write_sbom(engine: str, name: str, target: Path) -> int:
    """Writes the CycloneDX 1.6 JSON of the image `name` to `target`; gives how many packages it lists.

    cyclonedx-py reads an environment, so one is made that holds the packages' metadata, and nothing else, of the image's.
    """
    with tempfile.TemporaryDirectory(prefix="fineline-") as temporary:
        environment = Path(temporary)
        venv.create(environment, symlinks=True)
        packages = environment.joinpath(*Path(PACKAGES).relative_to("/opt/venv").parts)
        _extract_metadata(engine, name, packages)
        command = [
            sys.executable,
            "-m",
            "cyclonedx_py",
            "environment",
            "--output-reproducible",
            "--spec-version",
            "1.6",
        ]
        subprocess.run([*command, "--output-file", str(target), str(environment)], check=True)
        return len(list(packages.glob("*.dist-info")))


def _extract_metadata(engine: str, name: str, packages: Path) -> None:
    command = [engine, "run", "--rm", "--network", "none", name, "sh", "-c", f"cd {PACKAGES} && tar -c *.dist-info"]
    read = subprocess.run(command, capture_output=True)
    if read.returncode:
        reason = read.stderr.decode().partition("\n")[0]
        raise ResourceError(f"{name} cannot be read: {reason}", "build it first: make images")
    with tarfile.open(fileobj=io.BytesIO(read.stdout)) as archive:
        archive.extractall(packages, filter="data")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="docker/sbom.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="images by their step; else all")
    parser.add_argument("--engine", default="", help="docker or podman; else the first that answers")
    flags = parser.parse_args()

    def work() -> None:
        engine = find_engine(flags.engine)
        SBOM.mkdir(parents=True, exist_ok=True)
        for target in choose(flags.targets):
            file = SBOM / f"{target.name}.json"
            count = write_sbom(engine, image(target.name), file)
            print(f"{target.name:14} {count:4} packages  {file.relative_to(PROJECT)}", flush=True)

    return guarded(work, parser.prog)[0]


if __name__ == "__main__":
    sys.exit(main())
