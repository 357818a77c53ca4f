# `make help` lists the targets; `make demo` is where to begin.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
# A GPU machine: EXTRAS=test,cuda. A CPU machine that wants no CUDA packages
# names PyTorch's index of CPU builds in TORCH_INDEX (the same torch version).
EXTRAS ?= test
TORCH_INDEX ?=
PROMPT ?= a portrait of a happy man with green skin and a red hat
DEMO_STEPS ?=
DEMO_DIR ?= runs/demo$(if $(DEMO_STEPS),-$(DEMO_STEPS))
PYTEST_FLAGS ?=
GPU_PYTHON ?= $(if $(wildcard $(VENV)/bin/python),$(VENV)/bin/python,$(PYTHON))
GPU_FLAGS ?=
CHAOS_TABLE ?=
# Whole files go to one process per core: tests of a file share what they make.
# They begin with the slow files (tests/conftest.py).
PARALLEL ?= --numprocesses=auto --dist=loadfile --no-loadscope-reorder

IN_VENV := $(VENV)/bin/python
STAMP := $(VENV)/installed
HEADS := $(VENV)/heads-installed
PIP := $(IN_VENV) -m pip install --quiet --disable-pip-version-check

.PHONY: help venv demo docs tutorial wheel wheel-check test coverage test-fast test-long chaos \
  guards gpu-check cluster-test lint format clean

help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' \
	  $(MAKEFILE_LIST)

venv: $(STAMP) ## Makes .venv with everything installed.

$(STAMP): setup.cfg setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mmdist needs Python 3.11 or newer and '$(PYTHON)' is" \
	    "$$($(PYTHON) -V 2>&1 || echo not one); name another with make PYTHON=python3.11" >&2; \
	  exit 1; }
	@echo 'Installing into $(VENV): minutes, once.'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --constraint constraints.txt \
	  $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@$(PIP) --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

# What draws people: tests need it, the demo does not.
$(HEADS): $(STAMP)
	@$(PIP) --constraint constraints.txt --editable '.[heads]'
	@touch $@

demo: venv ## Makes a head of PROMPT='...' in DEMO_DIR; DEMO_STEPS=N shortens it.
	@$(VENV)/bin/mmdist optimize --config=generate \
	  --config.prompt="$$PROMPT" --workdir='$(DEMO_DIR)' \
	  $(if $(DEMO_STEPS),--config.num_steps=$(DEMO_STEPS))
	@printf '%-7s %s\n' \
	  video '$(DEMO_DIR)/turntable.mp4' \
	  mesh '$(DEMO_DIR)/mesh.glb' \
	  page '$(DEMO_DIR)/mesh.html' \
	  report '$(DEMO_DIR)/report.html'
demo: export PROMPT := $(PROMPT)

docs: venv ## Builds the API reference into build/docs/index.html.
	@$(IN_VENV) -m pdoc --docformat google --output-directory build/docs mmdist
	@echo build/docs/index.html

tutorial: venv ## Executes docs/tutorial.ipynb; TUTORIAL_STEPS=N for more steps.
	@mkdir -p build
	@$(IN_VENV) -m jupyter execute docs/tutorial.ipynb --timeout=1800 \
	  --output=../build/tutorial
	@echo build/tutorial.ipynb
tutorial: export TUTORIAL_STEPS ?= 20
tutorial: export TUTORIAL_RUNS ?= $(CURDIR)/runs/tutorial

wheel: venv ## Builds the wheel into dist/.
	@# What an earlier build left in build/ would be packed again.
	@rm -rf build dist/mmdist-*.whl
	@$(IN_VENV) -m pip wheel . --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation --wheel-dir dist
	@ls dist/mmdist-*.whl

wheel-check: wheel ## Runs the wheel alone, in an empty folder.
	@.ci/wheel_check $(IN_VENV) dist/mmdist-*.whl

test: venv $(HEADS) ## Runs all tests but test-long, chaos, guards, cluster-test.
	@$(IN_VENV) -m pytest --durations=10 $(PARALLEL) $(PYTEST_FLAGS)

coverage: export PYTEST_ADDOPTS += --cov=mmdist \
	--cov-report=term:skip-covered --cov-fail-under=95
coverage: test ## The same tests with coverage, 95 % at least; slower.

test-fast: venv $(HEADS) ## Runs the tests that take a second or less.
	@$(IN_VENV) -m pytest -m 'not slow and not chaos and not guards and not cluster and not long and not gpu' $(PARALLEL) $(PYTEST_FLAGS)

test-long: venv $(HEADS) ## Runs commands of minutes from flags to results; not in `test`.
	@$(IN_VENV) -m pytest tests/end_to_end -m long -v --tb=short $(PYTEST_FLAGS)

chaos: venv ## Runs the whole matrix of faults; CHAOS_TABLE=FILE writes a table.
	@$(IN_VENV) -m pytest tests -m chaos -v -p tests.chaos.table --tb=short \
	  --chaos-table='$(CHAOS_TABLE)' $(PYTEST_FLAGS)

guards: venv $(HEADS) ## Takes each guard away, in a copy, and sees its test fail.
	@$(IN_VENV) -m pytest tests/guards -m guards -v --tb=short $(PYTEST_FLAGS)

# Installs nothing: a machine that is lent may have everything already.
gpu-check: ## Measures everything on this machine's GPU; GPU_FLAGS='--out=FILE'.
	@PYTHONPATH='$(CURDIR)'$${PYTHONPATH:+:$$PYTHONPATH} $(GPU_PYTHON) \
	  -m experiments.benchmarks.gpu_check $(GPU_FLAGS)

# Jobs need Ray's dashboard, which nothing else does.
$(VENV)/installed-cluster: $(STAMP)
	@$(PIP) --constraint constraints.txt --editable '.[$(EXTRAS),cluster]'
	@touch $@

cluster-test: $(VENV)/installed-cluster ## Runs on a Ray cluster of three network namespaces (Linux, root).
	@$(IN_VENV) -m pytest tests/cluster -m cluster -v -rs --tb=short \
	  $(PYTEST_FLAGS)

lint: venv ## Checks style and types without changing a file.
	@$(IN_VENV) -m ruff check .
	@$(IN_VENV) -m ruff format --check .
	@$(IN_VENV) -m mypy

format: venv ## Rewrites the files in house style.
	@$(IN_VENV) -m ruff check --fix .
	@$(IN_VENV) -m ruff format .

clean: ## Removes .venv and caches; runs/ stays.
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
