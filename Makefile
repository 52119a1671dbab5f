# Each target first creates .venv if needed. This takes Python 3.10+, make and a network connection.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Two test processes with one thread each: more threads than cores slow each other down.
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
