# Two commands on a fresh machine with Python 3.11 and a C++ compiler:
#   make demo   sets up .venv, then fits and dubs the synthetic actor
#   make test   sets up .venv, then ruff, mypy and the test suite
# A third looks for reads and writes out of memory in the CPU ops; it needs g++:
#   make sanitize
PYTHON ?= python3.11
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
# torch is pinned for every install below: an unpinned one would pull a CUDA build of several GB.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
STAMP := $(VENV)/.installed
EXT_SOURCES := $(wildcard cuda_ext/csrc/*)

# The CPU ops are built a second time here, and their tests run on that build.
SANITIZED := build/sanitized
SANITIZERS := -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all
SANITIZED_OPS := rasterize interpolate texture antialias shade refusals

.PHONY: setup demo test lint sanitize clean
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

sanitize: setup
	rm -rf $(SANITIZED)
	mkdir -p $(SANITIZED)/tests
	cp -r cuda_ext pyproject.toml $(SANITIZED)
	cp -r tests/ops $(SANITIZED)/tests
	rm -f $(SANITIZED)/cuda_ext/*.so
	cd $(SANITIZED) && CUDA_EXT=cpu CXX=g++ CFLAGS="$(SANITIZERS)" LDFLAGS="$(SANITIZERS)" \
	  $(abspath $(BIN))/python -W ignore -c "from setuptools import setup; setup(packages=[])" -q build_ext --inplace
	cd $(SANITIZED) && ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	  LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" \
	  $(abspath $(BIN))/python -m pytest -p no:cacheprovider -m "not cuda" $(SANITIZED_OPS:%=tests/ops/test_%.py)

clean:
	rm -rf build *.egg-info demo cuda_ext/*.so $(STAMP)
