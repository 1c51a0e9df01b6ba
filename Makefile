PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Named in tests/support/real_torchserve.py, too.
TORCHSERVE := .venv-torchserve-tests
# Named in tests/support/example_real.py, too.
REAL := .venv-example-real
# Tests wait more than they work, so there are more processes than cores.
TOGETHER := --numprocesses 4 --dist loadfile --no-loadscope-reorder
# Their databases lie in memory where it has room: each commit to a disk waits for milliseconds.
IN_MEMORY := $(shell test "$$(df --output=avail --block-size=1G /dev/shm | tail -1)" -ge 2 && echo TMPDIR=/dev/shm)

.DEFAULT_GOAL := help
.PHONY: help serve examples example-real test test-slow test-torchserve test-browser screenshots test-example-real check lint format types layers migrations static wheel tour coverage chaos fuzz bench bench-torchserve bench-real soak requirements

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(VENV)/.runtime: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("wfmgmt needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

# The examples are packed with them, in the versions that the tests use.
$(VENV)/.archivers: requirements-dev.txt $(VENV)/.runtime
	$(BIN)/pip install --quiet --constraint requirements-dev.txt torch-model-archiver torch-workflow-archiver
	@touch $@

$(VENV)/.development: requirements-dev.txt $(VENV)/.runtime
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	@touch $@

$(VENV)/.browser: tests/browser/requirements.txt $(VENV)/.development
	$(BIN)/pip install --quiet --requirement tests/browser/requirements.txt
	@touch $@

# Without torch, which takes gigabytes: a stub has all that TorchServe's workers ask of it.
$(TORCHSERVE)/.installed: tests/support/torchserve-requirements.txt tests/support/torch_stub/torch.py
	$(PYTHON) -m venv --clear $(TORCHSERVE)
	$(TORCHSERVE)/bin/pip install --quiet --no-deps --requirement tests/support/torchserve-requirements.txt
	cp tests/support/torch_stub/torch.py "$$($(TORCHSERVE)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@touch $@

# The service and the libraries of the example's models together, in the versions that both allow.
$(REAL)/.installed: requirements.txt examples/real/requirements.txt
	$(PYTHON) -m venv --clear $(REAL)
	$(REAL)/bin/pip install --quiet --requirement requirements.txt --requirement examples/real/requirements.txt
	$(REAL)/bin/pip install --quiet --no-deps --editable .
	@touch $@

serve: $(VENV)/.runtime  ## Run the service: management on 127.0.0.1:8081, inference on 127.0.0.1:8080
	@exec $(BIN)/gunicorn app:app

examples: $(VENV)/.archivers  ## Build the example archives into the stores
	@$(BIN)/python examples/build.py

example-real: $(REAL)/.installed  ## Build the example with a real model, serve it and ask it; downloads a few hundred MB
	@$(REAL)/bin/python examples/real/run.py

test: $(VENV)/.development  ## Run the tests, several files at a time
	@$(BIN)/python -m compileall -qq wfmgmt  # Else each process compiles it where PYTHONDONTWRITEBYTECODE is set.
	$(IN_MEMORY) $(BIN)/python -m pytest $(TOGETHER) -m "not slow"

test-slow: $(VENV)/.development  ## Run the tests that take long and have a quick case among the others
	$(IN_MEMORY) $(BIN)/python -m pytest $(TOGETHER) -m slow

test-torchserve: $(VENV)/.development $(TORCHSERVE)/.installed  ## Run the tests that need a real TorchServe 0.12.0; needs java
	$(BIN)/python -m pytest -m torchserve

test-browser: $(VENV)/.browser  ## Run the tests of the page in a real browser; needs chromium
	$(IN_MEMORY) $(BIN)/python -m pytest tests/browser

screenshots: $(VENV)/.browser  ## Make the pictures of the page in docs/images; needs chromium
	$(BIN)/python -m tests.browser.screenshots

test-example-real: $(VENV)/.development $(REAL)/.installed  ## Run the tests of the example with a real model
	$(BIN)/python -m pytest -m example_real

# Everybody may write into the folder, since some tests run processes as users without rights. Whether tests pass is for
# make check to say: here all processes are slower than the tests that look at the clock allow for.
coverage: $(VENV)/.development  ## Run the tests of make check, and check how many lines and branches they reach in all processes
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && chmod 1777 "$$folder" && export COVERAGE_FILE="$$folder/data" && \
		{ $(IN_MEMORY) $(BIN)/coverage run -m pytest -qq --no-summary $(TOGETHER) -m "not slow" || test $$? -eq 1; } && \
		$(BIN)/coverage combine --quiet && $(BIN)/coverage report

lint: $(VENV)/.development  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.development  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.development  ## Check types
	$(BIN)/mypy

layers: $(VENV)/.development  ## Check which part imports which
	$(BIN)/lint-imports

migrations: $(VENV)/.development  ## Check that the migrations and the tables agree
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && export WFMGMT_INSTANCE="$$folder" && \
		$(BIN)/alembic upgrade head && $(BIN)/alembic check

static: lint types layers migrations  ## All checks that run no tests

# The tests wait for processes often enough that the other checks cost no time beside them.
check: $(VENV)/.development  ## All that has to hold before a change lands
	@$(MAKE) --no-print-directory --jobs 2 static test

wheel: $(VENV)/.development  ## Build the wheel and the source archive into dist/
	$(BIN)/python -m build

tour: $(VENV)/.development  ## Install the wheel into an empty environment, and use the service from there
	$(BIN)/python -m pytest tests/wheel

chaos: $(VENV)/.development  ## Kill the service again and again while it works, and look for losses
	$(BIN)/python -m pytest tests/chaos

fuzz: $(VENV)/.development  ## Send what the OpenAPI descriptions allow, and what they forbid, to both addresses
	$(BIN)/python -m pytest tests/chaos/test_openapi.py

bench: $(VENV)/.development  ## Measure speed and memory; needs wrk
	$(BIN)/python -m benchmarks

bench-torchserve: $(VENV)/.development  ## Measure against TorchServe 0.12.0; needs wrk and java
	$(BIN)/python -m benchmarks.torchserve

bench-real: $(REAL)/.installed  ## Measure the real model against TorchServe 0.12.0; needs wrk and java
	$(REAL)/bin/pip install --quiet --requirement benchmarks/embedding/requirements.txt
	$(REAL)/bin/python -m benchmarks.embedding

soak: $(VENV)/.development  ## Load the service for ten minutes while parts of it are killed, and check every answer
	$(BIN)/python -m benchmarks.soak

requirements:  ## Pin the newest versions of the requirements
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --no-header --strip-extras --no-emit-index-url --no-emit-find-links --output-file requirements.txt requirements.in
	$(BIN)/pip-compile --quiet --upgrade --no-header --strip-extras --no-emit-index-url --no-emit-find-links --output-file requirements-dev.txt requirements-dev.in
	$(BIN)/pip-compile --quiet --upgrade --no-header --strip-extras --no-emit-index-url --no-emit-find-links --output-file examples/real/requirements.txt examples/real/requirements.in
	# A build for processors only has the same number, and is as good.
	sed -i 's/^\(torch==[0-9.]*\)+cpu$$/\1/' examples/real/requirements.txt
