# One place for every command a developer or CI runs; `make help` lists them.

SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
TESTS ?= test
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The five-line launchers, which have no suffix by which the checkers would find them.
LAUNCHERS := $(shell grep -lE '^\#!.*python' daemons/* tools/* 2>/dev/null)

.PHONY: help venv demo test lint doc bench clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(INSTALLED) ## create .venv with jqueue and the tools of a developer

# pip names the registry it was told to use; that is nobody's business, hence the log file and the sed.
$(INSTALLED): setup.cfg setup.py
	@echo "installing jqueue and its tools into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --no-input --disable-pip-version-check --use-pep517 --editable '.[dev]' \
		</dev/null >$(VENV)/install.log 2>&1 || { \
		tail -n 20 $(VENV)/install.log | sed -E 's,[a-z]+://[^ ]+,(address),g'; \
		echo "the installation failed; $(VENV)/install.log has all of it"; exit 1; }
	@touch $@

demo: $(INSTALLED) ## start a daemon of its own, run real work, show it, stop the daemon
	@PATH="$(abspath $(BIN)):$$PATH" tools/demo

test: $(INSTALLED) ## run every test (TESTS=test/unit for a part)
	$(BIN)/python -m pytest -q $(TESTS)

lint: $(INSTALLED) ## check style, format and types
	$(BIN)/ruff check lib test doc setup.py $(LAUNCHERS)
	$(BIN)/ruff format --check lib test doc setup.py $(LAUNCHERS)
	$(BIN)/mypy lib test doc
	@for launcher in $(LAUNCHERS); do echo "mypy $$launcher"; $(BIN)/mypy $$launcher || exit 1; done

doc: $(INSTALLED) ## renew the generated parts of doc/: tables, man pages, the drawing of the lifecycle
	$(BIN)/python doc/generate.py

# A peer that cannot be had is said in the table, and no reason to measure nothing.
bench: $(INSTALLED) ## measure throughput, latency, memory and restart time (BENCH=--quick for a first look)
	@$(BIN)/python -m pip install --no-input --disable-pip-version-check --quiet --editable '.[bench]' >/dev/null 2>&1 || true
	PYTHONPATH=test $(BIN)/python -m bench.run $(BENCH)

clean: ## remove everything that these targets made
	rm -rf $(VENV) build dist lib/*.egg-info .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find lib test -name __pycache__ -prune -exec rm -rf {} +
