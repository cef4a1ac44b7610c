# A newcomer needs only `make repro` and `make test`; both set up .venv when needed.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup repro test docs bench servers lint lock

UV_VERSION := 0.13.9
# The first interpreter that is new enough; PYTHON=/path/to/python overrides the search.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
BIN := .venv/bin
export VIRTUAL_ENV := $(CURDIR)/.venv
STAMP := .venv/.losslab-synced
export PATH := $(CURDIR)/$(BIN):$(PATH)
export NO_ALBUMENTATIONS_UPDATE := 1

help:
	@echo 'make repro   run the pipeline (dvc repro)'
	@echo 'make test    run the tests'
	@echo 'make docs    build the documentation as a site, reports/site/index.html'
	@echo 'make bench   compare speed and memory with common training loops (about ten minutes on 2 cores)'
	@echo 'make servers run all of losslab on PostgreSQL, S3, an MLflow server and two Ray nodes, all on this machine'
	@echo 'make lint    check style, docstrings and types'
	@echo 'make setup   create or update .venv; the targets above do it when needed'
	@echo 'make lock    resolve requirements.lock again from pyproject.toml'

setup: $(STAMP)

# The stamp comes last: an interrupted set-up starts again, a changed lock or pyproject.toml syncs again.
$(STAMP): requirements.lock pyproject.toml Makefile
	@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  python="$(PYTHON)"; python="$${python:-python3}"; \
	  echo "losslab needs Python 3.11 or newer; $$python is $$("$$python" --version 2>&1 || true)." \
	    "Install one, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv || { rm -rf .venv; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip sync --compile-bytecode --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

repro: setup
	dvc repro

# Three processes of one thread each for two cores, as one of them often waits for others; the longest files come first.
test: setup
	OMP_NUM_THREADS=1 pytest -n 3 --dist loadfile --no-loadscope-reorder

docs: setup
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict
	@echo 'open reports/site/index.html'

bench: setup
	PYTHONPATH=. python -m benchmarks.run $(BENCH)

# The servers and their clients have an environment of their own: they are no part of the lock.
servers: setup
	@test -x .venv-servers/bin/python || $(BIN)/python -m venv .venv-servers
	@uv pip install --quiet --python .venv-servers/bin/python --requirement requirements.lock
	@uv pip install --quiet --python .venv-servers/bin/python --no-build-isolation --editable '.[servers-tests]'
	PATH="$(CURDIR)/.venv-servers/bin:$$PATH" OMP_NUM_THREADS=1 .venv-servers/bin/python -m tests.servers $(STEPS)

lint: setup
	ruff check .
	ruff format --check .
	python .ci/docstrings.py src
	mypy

lock: $(STAMP)
	uv pip compile --quiet pyproject.toml --extra dev --extra docs --universal --generate-hashes --no-annotate \
	  --custom-compile-command 'make lock' --output-file requirements.lock
