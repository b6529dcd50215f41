# The only interface: people and CI type the same words.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEER := .bench/peer/autodistill
PYTEST := $(BIN)/python -m pytest
BENCHES := label_loop pipeline overlap classes masks brush resume growth gpu

.PHONY: help setup demo test test-fast test-slow check bench measure clean

help:
	@echo "make setup      .venv with every extra that shares one environment"
	@echo "make demo       draw photos, label them from words, export, report (offline)"
	@echo "make test       everything but slow, gpu and jetson"
	@echo "make test-fast  no torch, no servers, no browser; under a minute"
	@echo "make test-slow  full-size models and other long tests"
	@echo "make check      ruff and mypy"
	@echo "make measure    the figures of README and model card"
	@echo "make bench      our speed beside that of peers, one table per bench"

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all,dev]"
	@touch $@

demo: setup
	$(BIN)/labelstill demo

test: setup $(PEER)
	$(PYTEST) -m "not slow and not gpu and not jetson"

test-fast: setup
	$(PYTEST) -m "not torch and not slow and not server and not browser and not realdata and not gpu and not jetson"

test-slow: setup
	$(PYTEST) -m "slow and not gpu and not jetson"

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

measure: setup
	$(BIN)/python scripts/measure_demo_teacher.py
	$(BIN)/python scripts/measure_real_photos.py
	$(BIN)/python scripts/measure_box_prompts.py

bench: setup $(PEER)
	@for name in $(BENCHES); do $(BIN)/python scripts/bench/$$name.py || exit 1; done

$(PEER): scripts/bench/peer.py | setup
	$(BIN)/python scripts/bench/peer.py
	@touch $@

clean:
	rm -rf $(VENV) .bench build .mypy_cache .ruff_cache .pytest_cache .hypothesis
