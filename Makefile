# The commands of this project; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
# Options for pip, e.g. an index with another build of PyTorch: make setup PIP_ARGS="--index-url ..."
PIP_ARGS ?=
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full test-hdbet lint bench

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## */\t/' | expand -t 14

setup: $(READY)  ## make .venv from constraints.txt

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	touch $@

demo: setup  ## phantom dataset, training, evaluation, inference and a figure, in about five minutes
	$(BIN)/python -m tests.demo outputs/demo

test: setup  ## the tests, without those that take long
	$(BIN)/python -m pytest

test-full: setup  ## all tests that run without the extra hdbet
	$(BIN)/python -m pytest -m "not hdbet"

test-hdbet: setup  ## tests of brain extraction with HD-BET; installs the extra (about 2 GB)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[hdbet]"
	$(BIN)/python -m pip uninstall --quiet --yes torchvision
	$(BIN)/python -m pytest -m hdbet

lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## measure what tests/benchmarks claims and write outputs/bench.json
	$(BIN)/python -m tests.benchmarks outputs/bench.json
