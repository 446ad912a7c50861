# Two commands on a fresh machine with Python 3.11 and a C++ compiler:
#   make demo   sets up .venv, then fits and dubs the synthetic actor
#   make test   sets up .venv, then ruff, mypy and the test suite
PYTHON ?= python3.11
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
# torch is pinned for every install below: an unpinned one would pull a CUDA build of several GB.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
STAMP := $(VENV)/.installed
EXT_SOURCES := $(wildcard cuda_ext/csrc/*)

.PHONY: setup demo test lint clean
setup: $(STAMP)

$(STAMP): pyproject.toml cuda_ext/build_ops.py $(EXT_SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	echo "$(TORCH)" > $(VENV)/constraints.txt
	$(PIP) "$(TORCH)" "numpy>=2" "setuptools>=77" wheel
	$(PIP) -c $(VENV)/constraints.txt --no-build-isolation -e ".[test]"
	$(PIP) --no-deps lpips
	touch $@

demo: setup
	$(BIN)/python examples/06_demo.py --out demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

clean:
	rm -rf build *.egg-info demo cuda_ext/*.so $(STAMP)
