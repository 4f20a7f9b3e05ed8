# The commands of the project. `make` alone prints them.
#   PYTHON  the interpreter that makes the environment (python3.11, else python3)
#   VENV    folder of the environment (.venv)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv

# Spinning threads cost far more than they gain on a machine that runs anything else.
export OMP_WAIT_POLICY := passive
export PIP_DISABLE_PIP_VERSION_CHECK := 1

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)
DEMO := $(addprefix examples/,standup.txt support.csv dinner.vtt negotiation.jsonl)

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint docs bench clean

help:  ## Print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# torch is installed alone and first: together with the rest, pip may choose another build and gigabytes of GPU
# libraries.
$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) $(TORCH)
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@

venv: $(VENV)/.dev  ## Make the environment with everything the tests and the linters need

demo: $(VENV)/.core  ## Label the conversations in examples/, print the table, write out/demo.jsonl
	@mkdir -p out
	$(BIN)/erc label $(DEMO) -o out/demo.jsonl

lint: $(VENV)/.dev  ## Check style, types and the order of the layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint  ## Lint, run the tests, then try the wheel in an empty environment
	$(BIN)/python -m pytest
	scripts/check_wheel.sh $(BIN)/python

docs: $(VENV)/.dev  ## Build the documentation into out/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.dev  ## Measure speed and memory; prints each as a ratio within the same run
	$(BIN)/python scripts/bench.py

clean:  ## Remove builds and caches (the environment, runs/ and out/ stay)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find erc speakers scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
