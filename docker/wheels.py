"""Collects into build/wheels all wheels that the images need, with this machine's pip settings: Linux and Python 3.11, as in
the images.

.venv/bin/python docker/wheels.py --accelerator cpu
"""

import argparse
import subprocess
import sys

from build import PROJECT, WHEELS, torch_requirement

REQUIREMENTS = PROJECT / "docker" / "requirements"
BUNDLED_MODEL = REQUIREMENTS / "bundled-model.txt"


def collect(accelerator: str, pip_arguments: list[str]) -> None:
    """Fills build/wheels: every environment with torch for the CPU, the torch one with CUDA too where `accelerator` says so."""
    environments = sorted(path for path in REQUIREMENTS.glob("*.txt") if path != BUNDLED_MODEL)
    _pip_wheel([torch_requirement("cpu"), *(f"-r{path}" for path in environments)], pip_arguments)
    if accelerator == "cuda":
        _pip_wheel([torch_requirement("cuda"), f"-r{REQUIREMENTS / 'torch.txt'}"], pip_arguments)
    _pip_wheel(["--no-deps", f"-r{BUNDLED_MODEL}"], pip_arguments)


def _pip_wheel(requirements: list[str], pip_arguments: list[str]) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--disable-pip-version-check",
        "--wheel-dir",
        str(WHEELS),
    ]
    subprocess.run([*command, "-c", str(PROJECT / "constraints.txt"), *pip_arguments, *requirements], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="docker/wheels.py",
        description=__doc__,
        epilog="Anything else is passed to pip.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--accelerator", choices=("cuda", "cpu"), default="cuda", help="cuda: both builds of torch")
    flags, pip_arguments = parser.parse_known_args()
    try:
        collect(flags.accelerator, pip_arguments)
    except subprocess.CalledProcessError:
        print("docker/wheels.py: error: pip could not get all wheels, it says why above", file=sys.stderr)
        print(
            "docker/wheels.py: to mend it: show pip an index that offers torch for the CPU too: --extra-index-url URL",
            file=sys.stderr,
        )
        return 4
    count = len(list(WHEELS.glob("*.whl")))
    megabytes = sum(path.stat().st_size for path in WHEELS.glob("*.whl")) / 1e6
    print(f"{count} wheels, {megabytes:,.0f} MB in {WHEELS.relative_to(PROJECT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
