# Three commands do it all, on a fresh machine:
#   make sweep        set up .venv, run the default sweep (config/config.yaml) on all cores
#   make test         set up .venv with the test tools, run linters, types and the fast tests
#   make experiments  the published experiments at their small size; goes on where it was stopped (docs/experiments)
# and: make test-slow (the long tests), make lint, make format, make schema, make docs (generated tables), make clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Files that take minutes go first, so that no worker is left with one of them at the end.
TESTS ?= tests/cluster tests/workflow tests/tracking tests
# Tests run two at a time; one thread each keeps two cores busy without crowding.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: sweep experiments test test-slow lint format schema docs clean

sweep: $(VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores all

experiments: $(VENV)/.installed
	PATH="$(CURDIR)/$(BIN):$$PATH" docs/experiments/run.sh

test: $(VENV)/.test-tools lint
	$(PYTEST) --doctest-modules -m "not slow" nfa $(TESTS)

# Many of these tests wait, for a server or for Slurm: a third worker uses the cores meanwhile.
test-slow: $(VENV)/.test-tools
	$(PYTEST) -n 3 -m slow $(TESTS)

lint: $(VENV)/.test-tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --lint

format: $(VENV)/.test-tools
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

schema: $(VENV)/.installed
	$(BIN)/nfa schema > workflow/schemas/sweep.schema.json

docs: $(VENV)/.installed
	$(BIN)/python docs/generate.py

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"nfa needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# torch goes first, pinned: otherwise a package that wants torch (torchvision does) may pull another build of it.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

# The report is tested in a real browser, the cluster profile on a real Slurm.
$(VENV)/.test-tools: $(VENV)/.installed
	$(PIP) --editable '.[test,slurm]'
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	  || echo "Chromium is not installed: its tests will be skipped"
	@{ PATH="$$PATH:/usr/sbin"; command -v slurmctld && command -v slurmd && command -v munged; } >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq \
	    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null; } \
	  || echo "Slurm and munge are not installed: their tests will be skipped"
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
