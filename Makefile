# make run and make test are all that anyone needs; both set up .venv first.
# PIP_ARGS passes options to pip, for instance an index that offers a CPU build of torch: make run PIP_ARGS="--extra-index-url URL"

PYTHON ?= python3.11
PIP_ARGS ?=
BIN := .venv/bin
export DVC_NO_ANALYTICS := true

.PHONY: help run setup test check docs clean

help:
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

run: setup  ## set up, run the whole pipeline on the sample with DVC, print what came out
	@$(BIN)/dvc repro --quiet && $(BIN)/fineline summary

setup: .venv/installed  ## make .venv and install fineline in it

test: setup  ## run the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

check: setup  ## ruff, ruff format, mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: setup  ## write the generated parts of README.md and docs/ again
	@$(BIN)/python docs/generate.py

clean:  ## remove what the pipeline made (not the data, not .venv)
	rm -rf artifacts .fineline

.venv/installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it, or name it with PYTHON=..."; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@
