# `make demo` and `make test` do all the set-up themselves; a machine needs python3 (3.11 or newer, with venv) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS := $(VENV)/.installed
TOOLS := $(VENV)/.tools
JOBS ?= 2
SIZE ?= 10980
BENCH_DATA ?= bench_data
N ?= 200
WHO ?= coordinator

# Real test data lie outside the repository; tests skip with a reason where they are absent.
ifneq ($(wildcard ../shared/data),)
export ECOWATCH_TEST_DATA ?= $(abspath ../shared/data)
endif

.PHONY: demo debian test test-slow kills check accuracy bench bench-peers bench-national config clean

# Half of the modules that come along are never imported: the others are compiled when they are, not all of them here. An
# environment in which Python may not keep what it compiled, as in many containers, would make every start compile them again.
export PYTHONDONTWRITEBYTECODE :=

define install
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ecowatch needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable
endef

# What a review needs; and that with what tests, checks and benchmarks need.
$(RUNS): pyproject.toml
	$(install) .
	touch $@

$(TOOLS): pyproject.toml
	$(install) '.[dev]'
	touch $(RUNS) $@

demo: $(RUNS)
	$(BIN)/python sample_data/make_sample.py
	$(BIN)/ecowatch run configs/half_yearly.toml --cluster configs/cluster_local.toml

# QGIS, in which a test opens the published GeoPackage, and SLURM, on which tests run reviews; where they cannot be had, these
# tests skip and say so.
DEBIAN := python3-qgis slurm-wlm munge
debian:
	@dpkg -s $(DEBIAN) >/dev/null 2>&1 || test "$$(id -u)" -ne 0 || ! command -v apt-get >/dev/null \
	  || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(DEBIAN); } \
	     >/dev/null || echo '$(DEBIAN) could not be installed'

# Twice: what goes through kernels interpreted, for readable failures at their own lines, then compiled and whole. The tests of
# a file stay together, for they share what it sets up; files of few but long tests come first, that no process waits for them.
SPREAD := -n $(JOBS) --dist loadfile --no-loadscope-reorder
KERNELS := tests/prepare tests/detect tests/patches
test: $(TOOLS)
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q $(SPREAD) -m 'kernels and not compiled' $(KERNELS)
	$(BIN)/python -m pytest -q $(SPREAD) -m 'not slow' tests/walk tests/review tests README.md

test-slow: $(TOOLS)
	$(BIN)/python -m pytest -q -m slow tests

# Kill a review, or WHO=worker or WHO=scheduler of it, at N random moments; it must end as if nothing had happened.
kills: $(TOOLS)
	$(BIN)/python tests/walk/kills.py --n $(N) --who $(WHO)

check: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Judge the pipelines on the labelled pairs; exit code 3 only says that some pair has no method.
accuracy: $(TOOLS)
	$(BIN)/ecowatch evaluate $(ECOWATCH_TEST_DATA)/bitemporal --out docs/accuracy.md || test $$? -eq 3
	$(BIN)/python benchmarks/learn_objects.py --page >> docs/accuracy.md

# Ratios measured in turn in one run; every figure also goes into bench.json. Keep the machine quiet.
bench: $(TOOLS)
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/speed.py --size $(SIZE) --data $(BENCH_DATA)
	$(BIN)/python benchmarks/memory.py --data $(BENCH_DATA)
	$(BIN)/python benchmarks/rerun.py --data $(BENCH_DATA)
	$(BIN)/python benchmarks/scene_index.py
	$(BIN)/python benchmarks/ledger.py
	$(BIN)/python benchmarks/scale.py --size $(SIZE) --data $(BENCH_DATA)

# The slow programs of others, beside ours; Orfeo Toolbox is Debian's otb-bin.
bench-peers: $(TOOLS)
	$(BIN)/python benchmarks/peers.py --size $(SIZE) --data $(BENCH_DATA)

# A plan of a whole country, made up but for its public totals.
bench-national: $(TOOLS)
	$(BIN)/python benchmarks/national.py plan --data $(BENCH_DATA)/nation

# Print the shipped settings files anew from the models.
config: $(RUNS)
	for file in $$(ls configs/*.toml pipelines/*.toml); do $(BIN)/ecowatch config example $$file > $$file.new && mv $$file.new $$file; done

clean:
	rm -rf $(VENV) sample_data/demo runs build bench_data
