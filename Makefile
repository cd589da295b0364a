# Everything runs in its own .venv, which is made and kept up to date by the stamp files below.
# `make demo` installs the runtime alone; the other targets add the tools of the extra [dev].

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
CELERY := $(VENV)/.celery-demo-installed
KUBERNETES := $(VENV)/.kubernetes-installed
DEV := $(VENV)/.dev-installed

ATTEMPTS ?= 1000
FAULTS ?= 50
SEED ?= 1
HYBRID_IMAGE ?= hybrid-runtime:local
DOCKER_COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
COMPOSE = $(DOCKER_COMPOSE) -f deploy/docker-compose.yml --env-file deploy/.env

.DEFAULT_GOAL := help
.PHONY: help demo demo-celery demo-kubernetes test test-kubernetes check format docs bench simulate faults clean docker-image \
	compose-env compose-up compose-test compose-down kind-up kind-test kind-down

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## run a real pipeline on two executors, in .demo/
	$(BIN)/python deploy/demo.py

demo-celery: $(CELERY) ## the same with a Redis and a Celery worker; nothing else is to be installed
	$(BIN)/python deploy/demo_celery.py

demo-kubernetes: $(KUBERNETES) ## the same with pods, of a fake API server whose pods are processes of this machine
	$(BIN)/python deploy/demo_kubernetes.py

# What fails runs once more, alone: with real processes and real timeouts, a machine that is busy for a moment may be why.
test: $(DEV) ## run the tests; needs no service
	$(BIN)/pytest || $(BIN)/pytest -n 0 --last-failed --last-failed-no-failures none
	$(BIN)/pytest -n 0 -m timed

# On any cluster: HYBRID_TEST_KUBECONFIG, HYBRID_TEST_NAMESPACE, HYBRID_TEST_IMAGE, HYBRID_TEST_API_URL; docs/kubernetes.md.
test-kubernetes: $(DEV) ## run the end-to-end tests of KubernetesExecutor on a real cluster
	$(BIN)/pytest -n 0 -m kubernetes tests/kubernetes_e2e

check: $(DEV) ## lint, formatting, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DEV) ## write docs/configuration.md from the declared options, and the table in docs/metrics.md
	$(BIN)/python -m runtime.config.reference docs/configuration.md
	$(BIN)/python -m runtime.metrics.catalogue docs/metrics.md

bench: $(RUNTIME) ## measure, and print a table beside the bare limits
	$(BIN)/python -m benchmarks

simulate: $(RUNTIME) ## run 100,000 tasks on eight simulated executors in virtual time, and check the end
	$(BIN)/python -m benchmarks.simulation

faults: $(DEV) ## hurt a whole deployment, and see what is lost; ATTEMPTS=1000 FAULTS=50 SEED=1
	$(BIN)/python -m tests.faults.harness --attempts $(ATTEMPTS) --faults $(FAULTS) --seed $(SEED)

docker-image: ## build the image of all daemons and workers; BASE_IMAGE=… for another base
	docker build -f deploy/docker/Dockerfile $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) -t $(HYBRID_IMAGE) .

compose-env: ## make deploy/.env, the secrets of a deployment with Docker Compose
	$(PYTHON) deploy/compose/env_file.py deploy/.env

compose-up: compose-env ## bring the deployment up, and wait until it is healthy
	$(COMPOSE) build image
	$(COMPOSE) up -d
	DOCKER_COMPOSE="$(DOCKER_COMPOSE)" $(PYTHON) deploy/compose/project.py

compose-test: compose-env ## bring up another one, run a DAG half on Local, half on Celery, and take it down
	DOCKER_COMPOSE="$(DOCKER_COMPOSE)" $(PYTHON) deploy/compose/check.py

compose-down: ## stop the deployment; what it has stored stays
	$(COMPOSE) down

kind-up: ## make a cluster with kind and bring the deployment up in it; DAGS=… for your own DAG files
	deploy/kind/up.sh

kind-test: ## run a DAG half on Local, half in pods there, and look at everything
	$(PYTHON) deploy/kind/check.py

kind-down: ## delete the cluster, and with it everything in it
	kind delete cluster --name "$${CLUSTER:-hybrid}"

clean: ## remove what was built, the .venv too
	rm -rf $(VENV) .demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/pip:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed; set PYTHON=/path/to/it" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(CELERY): pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[celery-demo]'
	@touch $(RUNTIME) $@

$(KUBERNETES): pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[kubernetes]'
	@touch $(RUNTIME) $@

$(DEV): pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(RUNTIME) $@
