# Every target makes what it needs. A machine with everything installed: make test PYTHON=python3
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BASE ?= python3
VENV ?= .venv
ifeq ($(origin PYTHON),undefined)
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
endif
VHS := $(PYTHON) -m vhs
D := demo
JOBS ?= 2
TOOLS := build/bench-tools

help:  ## these lines
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 20

$(VENV)/.ready: pyproject.toml constraints.txt
	$(BASE) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# --- the demo: shards -> model -> tables -> figures, 500 images a condition ---
demo: $(D)/report.html $(D)/heads.png $(D)/conditions.png $(D)/severity.png $(D)/agreement.png $(D)/training.png $(D)/attention.png $(D)/jsd.png $(D)/features.png $(D)/maps.png  ## the main job on embedded images (minutes)
	@echo; $(VHS) info --say $(D)/shift.csv $(D)/heads.csv $(D)/agreement.csv; echo
	@echo "figures: $(D)/*.png   tables: $(D)/*.csv"; echo "open in a browser: $(abspath $(D)/report.html)"

$(D)/shards/val/shards.json: shards/fashion-mnist.xz | $(READY)
	rm -rf $(D)/shards
	$(VHS) shard fashion-mnist $(D)/shards
$(D)/vit.safetensors: $(D)/shards/val/shards.json | $(READY)
	$(VHS) train $(D)/shards --minutes 4 -o $@
$(D)/heads.csv: $(D)/vit.safetensors | $(READY)
	$(VHS) ablate $< --shift imagenet-c --max-samples 500 --per-sample $(D)/heads.outcomes.parquet -o $@
$(D)/shift.csv: $(D)/vit.safetensors | $(READY)
	$(VHS) evalshift $< --shift imagenet-c -o $@
$(D)/attention.csv: $(D)/vit.safetensors | $(READY)
	$(VHS) specialize $< --shift contrast:3 --max-samples 500 -o $@
$(D)/agreement.csv: $(D)/heads.csv | $(READY)
	$(VHS) compare $< -o $@
$(D)/heads.png $(D)/agreement.png $(D)/attention.png: $(D)/%.png: $(D)/%.csv | $(READY)
	$(VHS) plot $< -o $@
$(D)/features.png: $(D)/attention.csv | $(READY)
	$(VHS) plot $< --kind features -o $@
$(D)/maps.safetensors: $(D)/vit.safetensors | $(READY)
	$(VHS) specialize $< --shift contrast:3 --shift gaussian_noise:3 --maps $@
$(D)/maps.png: $(D)/maps.safetensors $(D)/heads.csv | $(READY)
	$(VHS) plot $< --kind conditions --head $(D)/heads.csv -o $@
$(D)/conditions.png: $(D)/heads.csv | $(READY)
	$(VHS) plot $< --kind conditions -o $@
$(D)/severity.png: $(D)/shift.csv | $(READY)
	$(VHS) plot $< -o $@
$(D)/training.png: $(D)/vit.safetensors | $(READY)
	$(VHS) plot $(D)/vit.train.csv -o $@
$(D)/jsd.png: $(D)/attention.csv | $(READY)
	$(VHS) plot $(D)/attention.pairs.parquet -o $@

$(D)/report.html: $(D)/heads.csv $(D)/shift.csv $(D)/attention.csv $(D)/agreement.csv $(D)/maps.safetensors $(D)/vit.safetensors | $(READY)
	$(VHS) report $(filter-out %/vit.safetensors,$^) $(D)/attention.pairs.parquet $(D)/vit.train.csv -o $@

demo-page: demo  ## docs/demo.md and its figures, from the demo's tables and a few more (minutes)
	$(PYTHON) -m tests.demo_page

# --- the studies: docs/studies; a file each ---
include studies/common.mk
include $(STUDIES:%=studies/%.mk) studies/proposal.mk

# --- checks ---
test: $(READY)  ## the tests
	$(PYTHON) -m pytest -q -n $(JOBS) --dist worksteal

test-all: $(READY)  ## the tests and the long checks
	$(PYTHON) -c 'import transformers' 2>/dev/null || $(PYTHON) -m pip install --quiet -c constraints.txt 'transformers>=5'
	$(PYTHON) -m pytest -q -n $(JOBS) --dist worksteal -m ''
	$(PYTHON) -m tests.faults

test-browser: $(READY)  ## the report's page in headless Chromium (Debian: chromium, chromium-driver)
	$(PYTHON) -m pytest -q tests/test_browser.py -rs

test-faults: $(READY)  ## kills, full disks, runs that meet, damaged files, closed streams (an hour)
	$(PYTHON) -m tests.faults

check: $(READY)  ## style, types, tests, docs up to date
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m tests.docs --check
	$(PYTHON) -m pytest -q -n $(JOBS) --dist worksteal

models: $(READY)  ## which of timm's architectures can be ablated: docs/models.md (minutes)
	$(PYTHON) -m tests.models

docs: $(READY)  ## generate docs/cli.md and docs/tables.md
	$(PYTHON) -m tests.docs

bench: $(READY) bench-tools  ## our code against the alternative, alternating in one process
	$(PYTHON) -m tests.bench.sweep
	$(PYTHON) -m tests.bench.looking
	$(PYTHON) -m tests.bench.roles
	$(PYTHON) -m tests.bench.reading
	$(PYTHON) -m tests.bench.elsewhere
	$(PYTHON) -m tests.bench.training
	$(PYTHON) -m tests.bench.teaching
	$(PYTHON) -m tests.bench.pruning
	PYTHONPATH=$(TOOLS) $(PYTHON) -m tests.bench.shifts

bench-tools: $(READY)  # apart from the environment: its frost photographs would be found there
	test -d $(TOOLS) || $(PYTHON) -m pip install --quiet --no-deps --target $(TOOLS) -c constraints.txt \
	  imagecorruptions-imaug opencv-python-headless numba llvmlite

bench-gpu: bench-gpu-sweep bench-gpu-looking bench-gpu-roles bench-gpu-shifts bench-gpu-train bench-gpu-teaching bench-gpu-pruning  ## the benchmarks on one GPU; need torch and timm only

bench-gpu-sweep:  ## the sweep on one GPU
	$(or $(PYTHON_GPU),python3) -m tests.bench.sweep --device cuda

bench-gpu-looking:  ## what heads look at, on one GPU
	$(or $(PYTHON_GPU),python3) -m tests.bench.looking --device cuda

bench-gpu-roles:  ## what heads carry, on one GPU
	$(or $(PYTHON_GPU),python3) -m tests.bench.roles --device cuda

bench-gpu-shifts:  ## the corruptions on one GPU
	$(or $(PYTHON_GPU),python3) -m tests.bench.shifts --device cuda

bench-gpu-train:  ## training on one GPU
	$(or $(PYTHON_GPU),python3) -m tests.bench.training --device cuda

bench-gpu-teaching:  ## what a teacher and diverse heads cost, on one GPU
	$(or $(PYTHON_GPU),python3) -m tests.bench.teaching --device cuda

bench-gpu-pruning:  ## a network with half of its heads, on one GPU
	$(or $(PYTHON_GPU),python3) -m tests.bench.pruning --device cuda

clean:  ## remove what make made
	rm -rf $(VENV) $(D) build dist .pytest_cache .mypy_cache .ruff_cache

.PHONY: help demo demo-page test test-all test-browser test-faults check models docs bench bench-tools bench-gpu bench-gpu-sweep bench-gpu-looking bench-gpu-roles bench-gpu-shifts bench-gpu-train bench-gpu-teaching bench-gpu-pruning clean
