# Each target first creates .venv if needed. This takes Python 3.10+, make and a network connection.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Two test processes with one thread each: more threads than cores slow each other down.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

.PHONY: train test test-all test-browser lint

train: $(READY)
	$(BIN)/python tools/train.py configs/faster_rcnn_se_r50_shapes.py --resume

test: $(READY)
	$(PYTEST)

test-all: $(READY)
	$(PYTEST) -m 'long or not long'

# The report page in headless Chromium; Debian's packages are chromium and chromium-driver.
test-browser: $(READY)
	@command -v chromedriver || { echo 'chromedriver is missing. Type: apt-get install chromium chromium-driver'; exit 1; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]'
	$(BIN)/python -m pytest -m browser

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "se_det needs Python 3.10 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[lite,test,dev]'
	touch $@
