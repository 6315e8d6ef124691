# make run and make test are all that anyone needs; both set up .venv first.
# PIP_ARGS passes options to pip, for instance an index that offers a CPU build of torch: make run PIP_ARGS="--extra-index-url URL"

PYTHON ?= python3.11
PIP_ARGS ?=
BIN := .venv/bin
ACCELERATOR ?= cuda
BASE ?= python:3.11-slim
ENGINE ?=
export DVC_NO_ANALYTICS := true

.PHONY: help run in-git setup test test-all check docs images wheels base-image sbom clean

help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

run: in-git setup  ## set up, run the whole pipeline on the sample with DVC, print what came out
	@$(BIN)/dvc repro --quiet && $(BIN)/fineline summary

# Before ten minutes of installing: a checkout that was unpacked, not cloned.
in-git:
	@command -v git >/dev/null || { echo "make run: git is needed: install it"; exit 2; }
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo "make run: this folder is no git repository, and DVC stops without one: git init"; exit 2; }

setup: .venv/installed  ## make .venv and install fineline in it

test: setup  ## run the tests, but for the wide sweeps (make test-all) and those that need containers (pytest -m docker)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not docker"

test-all: test  ## run the tests, then the wide sweeps: whole DAGs, every runner, kills by the dozen, simulations
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "slow and not docker"

check: setup  ## ruff, ruff format, mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: setup  ## write the generated parts of README.md and docs/ again
	@$(BIN)/python docs/generate.py

images:  ## build the images, one per step: ACCELERATOR=cuda|cpu BASE=IMAGE ENGINE=docker|podman
	@$(PYTHON) docker/build.py --accelerator $(ACCELERATOR) --base $(BASE) $(addprefix --engine ,$(ENGINE))

wheels: setup  ## download all that the images install into build/wheels; make images then needs no network
	@$(BIN)/python docker/wheels.py --accelerator $(ACCELERATOR) $(PIP_ARGS)

base-image:  ## make the base image from Debian's packages, where no image registry can be reached (as root)
	@ENGINE=$(ENGINE) docker/base-image.sh $(BASE)

sbom: setup  ## list the Python packages of each image in build/sbom, as CycloneDX
	@$(BIN)/python docker/sbom.py $(addprefix --engine ,$(ENGINE))

clean:  ## remove what the pipeline made (not the data, not .venv)
	rm -rf artifacts .fineline

.venv/installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it, or name it with PYTHON=..."; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@
