# Each target sets up what it needs in .venv; nothing but Python 3.10+, make and a network is asked.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Two test processes of one thread each: threads that compete for two cores wait for one another.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

.PHONY: train test test-all lint

train: $(READY)
	$(BIN)/python tools/train.py configs/faster_rcnn_se_r50_shapes.py

test: $(READY)
	$(PYTEST)

test-all: $(READY)
	$(PYTEST) -m 'long or not long'

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "se_det needs Python 3.10 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[lite,test,dev]'
	touch $@
