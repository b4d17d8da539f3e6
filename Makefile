# Everything a fresh machine needs: make demo, make test. Each makes .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all lint bench docs clean

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: $(VENV)/ready  ## the whole laboratory on the built-in world, with a report at the end
	$(BIN)/truing demo

test: $(VENV)/ready lint
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/ready  ## the long suites only; make test runs the others
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/ready  ## speed and memory beside TRL and transformers, in an environment of its own
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -r bench/requirements.txt -e .
	.venv-bench/bin/python bench/run.py $(if $(FULL),--full)
	.venv-bench/bin/python bench/scoring.py
	.venv-bench/bin/python bench/offline.py
	.venv-bench/bin/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv-bench/trl-ppo trl==1.12.0
	.venv-bench/bin/python bench/ppo.py

docs: $(VENV)/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[docs]"
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) .venv-bench site build dist
