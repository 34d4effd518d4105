# Every target does its own set-up and is safe to run again. `make` lists them.

PYTHON ?= python3
BIN := .venv/bin
# Processes that run tests. Each trains with threads of its own: more than cores make it slower.
WORKERS ?= 2
SETUP := $(PYTHON) scripts/setup_venv.py

# One thread per core and no spinning threads: the machine stays usable, and results do
# not depend on what else runs. Glibc keeps freed memory instead of giving it back per step.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help quickstart setup test lint format types bench recordings docs clean distclean

help: ## list what make can do
	@awk 'BEGIN {FS = ":.*## "; print "make TARGET, where TARGET is one of\n"} \
		/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2} \
		END {print "\nNew here? make quickstart"}' Makefile

quickstart: ## install, then train a small model on examples/tidewater.dlm and ask it
	@$(SETUP) --extras gguf
	@$(BIN)/python scripts/quickstart.py

setup: ## make .venv with everything the tests and tools need
	@$(SETUP) --extras dev,gguf

test: setup ## run the whole test suite, real weights and real llama.cpp included
	@$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

lint: setup ## check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup ## correct style and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup ## check types (mypy --strict)
	@$(BIN)/mypy

bench: setup ## measure speed and learning against the targets in tests/bench/
	@$(BIN)/python -m tests.bench $(ARGS)

recordings: setup ## record the editors' sessions anew that are played to the server in tests
	@$(BIN)/python -m tests.server.record $(ARGS)

docs: setup ## write the generated parts of docs/ anew
	@$(BIN)/python scripts/generate_docs.py

clean: ## remove what building and testing made; .venv and converted weights stay
	@rm -rf build dist .cache/mypy .cache/pytest .cache/quickstart .hypothesis .ruff_cache
	@find . -path ./.venv -prune -o \( -name __pycache__ -o -name '*.egg-info' \) \
		-type d -print0 | xargs -0 rm -rf

distclean: clean ## remove .venv and the converted weights as well
	@rm -rf .venv .cache
