# The only interface: people and CI type the same words.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
GROUNDING := .venv-groundingdino
GROUNDING_INSTALLED := $(GROUNDING)/.installed
STUDIO := .venv-studio
STUDIO_INSTALLED := $(STUDIO)/.installed
PEER := .bench/peer/autodistill
PYTEST := $(BIN)/python -m pytest
SIDE_BY_SIDE := -n auto --dist loadfile
BENCHES := label_loop pipeline overlap classes masks brush resume growth gpu studio edge

.PHONY: help setup studio-env groundingdino-env demo test test-fast test-slow check bench measure measure-curation measure-student measure-trust clean

help:
	@echo "make setup      .venv with every extra that shares one environment"
	@echo "make studio-env .venv-studio with Label Studio, for labelstill studio up"
	@echo "make groundingdino-env  .venv-groundingdino with the package groundingdino-py"
	@echo "make demo       draw photos, label them from words, export, report (offline)"
	@echo "make test       everything but slow, gpu and jetson"
	@echo "make test-fast  no torch, no servers, no browser; under a minute"
	@echo "make test-slow  full-size models and other long tests"
	@echo "make check      ruff and mypy"
	@echo "make measure    the figures of README and model card"
	@echo "make measure-curation  those of label errors, duplicates and next; hours the first time"
	@echo "make measure-student   those of split, train and evaluate; most of a day the first time"
	@echo "make measure-trust     those of feasibility, calibrate, accept, huge photos and video; an hour"
	@echo "make bench      our speed beside that of peers, one table per bench"

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all,dev,mongod]"
	@touch $@

# Label Studio pins what our own environment needs newer.
studio-env: $(STUDIO_INSTALLED)

$(STUDIO_INSTALLED): constraints-studio.txt
	test -x $(STUDIO)/bin/python || $(PYTHON) -m venv $(STUDIO)
	$(STUDIO)/bin/python -m pip install --quiet -c constraints-studio.txt label-studio label-studio-sdk
	@touch $@

# Its library needs older versions of what our own environment has newer; torch is shared.
groundingdino-env: $(GROUNDING_INSTALLED)

$(GROUNDING_INSTALLED): constraints-groundingdino.txt | setup
	$(BIN)/labelstill teachers install groundingdino-py --into $(GROUNDING)
	@touch $@

demo: setup
	$(BIN)/labelstill demo

test: setup studio-env groundingdino-env $(PEER)
	$(PYTEST) $(SIDE_BY_SIDE) --durations=25 -m "not slow and not gpu and not jetson"

test-fast: setup
	$(PYTEST) $(SIDE_BY_SIDE) -m "not torch and not http and not slow and not server and not browser and not realdata and not gpu and not jetson"

test-slow: setup groundingdino-env
	$(PYTEST) -m "slow and not gpu and not jetson"

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

measure: setup
	$(BIN)/python scripts/measure_demo_teacher.py
	$(BIN)/python scripts/measure_real_photos.py
	$(BIN)/python scripts/measure_box_prompts.py

# Trains 24 small students the first time: two hours on two cores; what is trained is kept.
measure-curation: setup
	$(BIN)/python scripts/curation/measure_errors.py --figure docs/planted_errors.png
	$(BIN)/python scripts/curation/measure_duplicates.py planted ../shared/data --weights ../shared/weights/yolov8n-coco-fp16.safetensors --seeds 2
	$(BIN)/python scripts/curation/measure_duplicates.py speed
	$(BIN)/python scripts/curation/measure_next.py --figure docs/next_or_random.png

# Trains some fifty students, most of a day on two cores the first time; what is trained is kept.
measure-student: setup
	$(BIN)/python scripts/student/measure_demo.py
	$(BIN)/python scripts/student/measure_real.py
	$(BIN)/python scripts/student/measure_leak.py

measure-trust: setup
	$(BIN)/python scripts/trust/measure_feasibility.py
	$(BIN)/python scripts/trust/measure_calibration.py
	$(BIN)/python scripts/trust/measure_guarantee.py
	$(BIN)/python scripts/measure_tiling.py --of photos --half final --megapixels 12 100
	$(BIN)/python scripts/measure_tiling.py --of scenes --half final --tiles-too --megapixels 12
	$(BIN)/python scripts/measure_video.py

bench: setup studio-env $(PEER)
	@for name in $(BENCHES); do $(BIN)/python scripts/bench/$$name.py || exit 1; done

$(PEER): scripts/bench/peer.py | setup
	$(BIN)/python scripts/bench/peer.py
	@touch $@

clean:
	rm -rf $(VENV) $(STUDIO) $(GROUNDING) .bench build .mypy_cache .ruff_cache .pytest_cache .hypothesis
