# Everything for users and developers starts here; `make help` lists it.
SHELL := /bin/sh
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
export UV_PYTHON_DOWNLOADS := never

.PHONY: help setup run kafka chromium test check format bench bench-peers fuzz faults clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: .venv/.ready  ## install everything into .venv (PyPI only)

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.ready: pyproject.toml uv.lock | $(filter .uv/bin/uv,$(UV))
	$(UV) sync --locked --quiet --python $(PYTHON)
	@touch $@

run: setup  ## do the main job once: usage -> Kafka -> Faust -> ClickHouse -> statements
	.venv/bin/usage demo

kafka:  ## fetch Apache Kafka (43 MB, needs Java 17): from then on the tests run on it too
	@$(PYTHON) tests/fixtures/fetch_kafka.py

chromium:
	@$(PYTHON) tests/fixtures/install_chromium.py

test: setup chromium check  ## check, and all tests
	.venv/bin/pytest

check: setup  ## style, types, import rules, dead code
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/vulture

format: setup  ## format the code
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

faults: setup  ## kill, freeze and cut off the running pipeline: ROUNDS=10 SEED=1 BROKER=embedded|apache (docs/faults.md)
	.venv/bin/python -m tests.faults --rounds $(or $(ROUNDS),10) --seed $(or $(SEED),1) --broker $(or $(BROKER),embedded)

bench: setup  ## measure everything against its targets: QUICK=1 for a short run (docs/performance.md)
	.venv/bin/python -m bench $(if $(QUICK),--quick)

bench-peers: setup  ## the same work by Faust, Quix, Bytewax, Kafka Streams and ours: ROUNDS=5 SCALE=1 PEER=quix
	.venv/bin/python -m bench.peers --rounds $(or $(ROUNDS),5) --scale $(or $(SCALE),1) $(addprefix --peer ,$(PEER))

SECONDS ?= 60
fuzz: setup  ## malformed input, guided by coverage: SECONDS=60 a target, TARGET=agent, INPUT=file to run one again
	-@$(UV) sync --locked --quiet --inexact --group fuzz --no-build-package atheris
	@.venv/bin/python -m tests.fuzz.run --seconds $(SECONDS) $(addprefix --target ,$(TARGET)) $(addprefix --input ,$(INPUT))

clean:  ## remove what make made, but no data
	rm -rf .venv .uv .kafka .bench .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
