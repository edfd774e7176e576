# Two commands do all the set-up: `make demo` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
STORAGE ?= $(CURDIR)/outputs
BIN := $(CURDIR)/.venv/bin

ELSEWHERE = $(if $(filter-out $(CURDIR)/outputs,$(STORAGE)), --tracking '$(STORAGE)')

.PHONY: help install demo test test-slow test-cluster ui lint lock clean

help: ## say what each command does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 21

install: .venv/.installed ## create .venv, install the locked versions, compile the flow kernels (or find it done)

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than 3.11; say make PYTHON=python3.12 ..."; exit 1; }
	@echo "installing into .venv (some minutes, once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pipeline.flow.cpu
	@touch $@

demo: install ## the main job end to end on a local Ray: clips, flow, shards, two I3D networks, a registered model
	@infra/local/submit.sh python jobs/pretrain_kinetics.py --recipe demo --storage '$(STORAGE)'
	@echo "  (from here: make ui; .venv/bin/video-actions predict VIDEO$(ELSEWHERE))"

# Threads that wait for work do not spin, so that they leave the cores to other processes.
PYTEST = OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n 2 --dist loadgroup

test: install ## every test that needs no GPU but the slow ones: those on Ray one after the other, the rest beside them
	@$(PYTEST) -m 'not slow and not cluster'

test-slow: install ## the slow ones: nodes, jobs and disks that are killed, recipes from shards to the registry
	@$(PYTEST) -m slow

test-cluster: install ## jobs on a Ray cluster of several machines, which it makes out of namespaces; needs root
	@$(BIN)/python -m pytest -m cluster tests/cluster

ui: install ## the MLflow pages of the demo's runs and models, on http://127.0.0.1:5000
	@echo "  http://127.0.0.1:5000/#/experiments?workflowType=machine_learning"
	@$(BIN)/mlflow ui --port 5000 --backend-store-uri "$$($(BIN)/python -c \
		'import sys; from pipeline.sqlite import address_of; print(address_of(sys.argv[1]))' '$(STORAGE)/mlflow.db')"

lint: install ## style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

LOCK = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade --quiet \
	--no-header --no-annotate --no-emit-index-url

lock: install ## renew requirements.lock and that of the MLflow server, with the hashes that pip checks
	@$(BIN)/python -m pip install --quiet uv
	@$(LOCK) pyproject.toml --extra dev -o requirements.lock
	@$(LOCK) infra/mlflow/requirements.in -o infra/mlflow/requirements.lock

clean: ## delete .venv, caches and everything under outputs/
	@rm -rf .venv outputs .pytest_cache .ruff_cache .mypy_cache *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
