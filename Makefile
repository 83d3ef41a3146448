# The two commands of the README, and what developers use. Each target sets up what it needs.

PYTHON ?= python3
VENV := .venv
MINUTES ?= 10
PIP := $(VENV)/bin/pip --quiet --disable-pip-version-check

.PHONY: run test soak bench screenshots lint format clean debian-packages

run: $(VENV)/.run  ## Start a registry on this machine: make run ARGS="--listen 127.0.0.1:5001"
	@$(VENV)/bin/slipway serve $(ARGS)

test: $(VENV)/.test debian-packages  ## Run the whole suite: make test ARGS="tests/unit -x"
	$(VENV)/bin/python -m pytest $(ARGS)

soak: $(VENV)/.test  ## Break things for longer than make test does: make soak MINUTES=30 ARGS="-k races"
	$(VENV)/bin/python -m pytest tests/faults --soak $(MINUTES) $(ARGS)

bench: $(VENV)/.test  ## Measure a short round of everything: make bench ARGS="--only push_blob --workers 4"
	@$(VENV)/bin/python -m bench.all $(ARGS)

screenshots: $(VENV)/.test debian-packages  ## Take pictures of every screen of the console: make screenshots ARGS=--readme
	@PYTHONPATH=tests $(VENV)/bin/python -m console.chromium.screenshots screenshots $(ARGS)

lint: $(VENV)/.test  ## Check style and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

format: $(VENV)/.test  ## Put the code into its usual form
	$(VENV)/bin/ruff check --fix-only
	$(VENV)/bin/ruff format

debian-packages:  ## Install the real clients that the tests need
	@deploy/debian-packages

clean:  ## Remove what make has made
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "slipway needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "python3 cannot make virtual environments: install the package python3-venv" >&2; exit 2; }

$(VENV)/.run: $(VENV)/bin/python pyproject.toml deploy/constraints.txt
	$(PIP) install --constraint deploy/constraints.txt --editable .
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml deploy/constraints.txt
	$(PIP) install --constraint deploy/constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.run
