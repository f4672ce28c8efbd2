# What a newcomer runs: each target makes .venv and installs what it needs, once.
#   make demo     the example workflow through the cas-run command
#   make test     the tests (make test ARGS="tests/stories -k readme")
#   make lint types   what CI checks besides
#   make torture  what the store promises, tried with the full counts; writes docs/reliability.md
#   make bench    what it costs, measured here (make bench ARGS=--help)
#   make clean    removes .venv and everything made here
# Another Python: make test PYTHON=python3.13 VENV=.venv-3.13

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=
# Processes side by side; the tests wait for processes and disks as much as they compute.
WORKERS ?= 2

.PHONY: demo test torture lint format types bench clean
.DEFAULT_GOAL := test

demo: $(VENV)/.has-examples
	@PATH="$(abspath $(BIN)):$$PATH" examples/demo.sh

test: $(VENV)/.has-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

torture: $(VENV)/.has-test
	$(BIN)/python -m pytest -n $(WORKERS) -m promise --torture --reliability=docs/reliability.md $(ARGS)

lint: $(VENV)/.has-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.has-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The tests' requirements too: their types are checked.
types: $(VENV)/.has-lint $(VENV)/.has-test
	$(BIN)/mypy

bench: $(VENV)/.has-test $(VENV)/.has-bench
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf .venv .venv-* .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each extra of pyproject.toml, so that a second `make test` installs nothing.
$(VENV)/.has-%: pyproject.toml | $(VENV)/.made
	@echo "installing cas-run with its '$*' extra into $(VENV)"
	@$(PIP) install --quiet --editable '.[$*]'
	@touch $@

# Its own stamp: bin/python exists before pip does, when making the environment is interrupted.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "cas-run needs Python 3.10 or newer, this is " \
		+ sys.version.split()[0] + "\n  -> make PYTHON=python3.12, or wherever a newer one is")'
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@touch $@

# Stamps are asked for by pattern; without this line make would take them for intermediate files and remove them.
.PRECIOUS: $(VENV)/.has-%
