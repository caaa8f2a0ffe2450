# Two commands: `make demo` and `make test`. Both make .venv when it is not there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RESULTS := benchmarks/results
# The exact versions that are installed. `make update` renews them; `LOCK=` is without: the newest that there are.
LOCK := constraints.txt
# Each installer takes what it knows, for what it installs and for what it builds with.
LOCKED := $(if $(LOCK),PIP_CONSTRAINT=$(LOCK) PIP_BUILD_CONSTRAINT=$(LOCK) UV_CONSTRAINT=$(LOCK) UV_BUILD_CONSTRAINT=$(LOCK))
INSTALL := $(shell command -v uv >/dev/null 2>&1 && echo uv pip install --quiet --python $(BIN)/python || echo $(BIN)/python -m pip install --quiet)

.PHONY: demo test test-all test-latest update lint format types docs bench bench-all bench-docs clean

demo: $(VENV)/.demo
	$(BIN)/meshlib demo $(ARGS)

test: $(VENV)/.test lint types
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The suite on every interpreter from 3.11 to 3.14 that this machine has, on the path or installed by pyenv or uv.
test-all:
	@for version in 3.11 3.12 3.13 3.14; do found=; \
	  for python in $$(command -v python$$version) $$HOME/.pyenv/versions/$$version.*/bin/python$$version \
	      $$(uv python find $$version 2>/dev/null); do \
	    if [ -z "$$found" ] && $$python -c '' >/dev/null 2>&1; then found=$$python; fi; done; \
	  if [ -z "$$found" ]; then echo "== python$$version is not here: not run"; continue; fi; \
	  echo "== python$$version"; $(MAKE) test PYTHON=$$found VENV=.venv-$$version || exit 1; done

# The suite on the newest versions that pyproject.toml allows, in an environment made afresh.
test-latest:
	rm -rf .venv-latest
	$(MAKE) test VENV=.venv-latest LOCK=

# The newest versions that go together, into constraints.txt. Then `make test`.
update: $(BIN)/python
	$(BIN)/python tools/lock.py

docs: $(VENV)/.docs
	$(BIN)/zensical build --clean --strict

# A part of the benchmarks, in under five minutes. Nothing is written.
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/import_time.py --rounds 5
	$(BIN)/python benchmarks/hot_path.py --fast
	$(BIN)/python benchmarks/storm.py --fast
	$(BIN)/python benchmarks/scale.py --fast
	$(BIN)/python benchmarks/sidecar.py --at 32 --faults none --rounds 3
	$(BIN)/python benchmarks/clients.py --fast --get --loop asyncio --concurrency 32

# Everything, into benchmarks/results: about half an hour. A script that fails leaves its old results, and the others run.
# Then `make bench-docs`.
bench-all: $(VENV)/.bench
	@failed=; for name in import_time hot_path scale storm crowd routing balancers balancersim sidecar clients; do \
	  echo "== $$name"; \
	  $(BIN)/python benchmarks/$$name.py --json $(RESULTS)/$$name.json || failed="$$failed $$name"; done; \
	if [ -n "$$failed" ]; then echo "these failed, and their results are the old ones:$$failed"; exit 1; fi

# docs/benchmarks.md and its charts, from the results.
bench-docs: $(VENV)/.test
	$(BIN)/python benchmarks/report.py

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("meshlib needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml $(LOCK) | $(BIN)/python
	$(LOCKED) $(INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml $(LOCK) | $(BIN)/python
	$(LOCKED) $(INSTALL) -e '.[test]'
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: pyproject.toml $(LOCK) | $(BIN)/python
	$(LOCKED) $(INSTALL) -e '.[docs]'
	@touch $@

$(VENV)/.bench: pyproject.toml $(LOCK) | $(BIN)/python
	$(LOCKED) $(INSTALL) -e '.[test,bench]'
	@touch $@

clean:
	rm -rf .venv .venv-* site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
