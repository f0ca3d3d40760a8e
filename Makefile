# make demo  set up, run the paper's method on the built-in dataset, compare it with the paper's table
# make test  set up, run the tests, the linter and the type checker
# make bench run all benchmarks, write results/benchmarks.json
# All can be repeated at any time; the environment and finished runs are reused.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test bench lint format environment clean

demo: environment
	@$(BIN)/oltr run dme
	@$(BIN)/oltr compare --table 3a --dataset glyphs-lt

test: environment lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

bench: environment
	@$(BIN)/python benchmarks/all.py

lint: environment
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: environment
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

environment: $(READY)

# libmr compiles against numpy and cython, which must be installed first; an isolated build does not see them.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("oltr needs Python 3.11 to 3.13, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12") if not (3, 11) <= sys.version_info[:2] <= (3, 13) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt 'setuptools>=77' wheel numpy cython
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation 'libmr==0.1.9'
	touch $(READY)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
