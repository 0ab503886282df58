# Todus. `make` alone prints the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

MODEL ?= ssd_mobilenet_v1_coco_2018_01_28
CATEGORIES ?=
# Taken as they are: make would run a $(shell ...) in a name.
override MODEL := $(value MODEL)
override CATEGORIES := $(value CATEGORIES)
export MODEL CATEGORIES

SHELL_FILES = *.sh lib/*.sh demo/*.sh .ci/run tests/*.bash
BATS_FILES = tests/*.bats

.PHONY: help install dev demo limited test lint bench report history doctor torture clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

install: ## set up .venv with Python 3.7 and every pinned package
	@lib/install.sh runtime

demo: install ## from nothing to a limited, trained, exported detector on a miniature COCO, in minutes
	@demo/run.sh

limited: install ## a zoo MODEL limited to CATEGORIES as frozen graph and TFLite file, without dataset or training
	@lib/limited.sh

test: dev ## the tests: bats for the scripts, pytest for the library
	@lib/test.sh

lint: dev ## shellcheck, shfmt and ruff
	@source .venv/bin/activate && shellcheck -x $(SHELL_FILES) && shfmt -d $(SHELL_FILES) && shfmt -d -ln bats $(BATS_FILES) && ruff check . && ruff format --check .

dev: install
	@lib/install.sh dev

bench: install ## measure speed: ratios within one run; SECTION=data|train|eval
	@lib/bench.sh

report: install ## one HTML page on a MODEL: precision, curves, sizes, speed
	@lib/report.sh

history: install ## one table of every training under model/
	@lib/history.sh

doctor: ## look at this machine, its Python and dataset/ and model/, and say what to do; DEEP=1 tries TensorFlow too
	@lib/doctor.sh

torture: dev ## disturb every command at random moments and compare with undisturbed runs; an hour; COMMANDS= TRIALS= SEED= WRITE=1
	@lib/torture.sh

clean: ## remove .venv and what the demo and the tests made; dataset/ and model/ stay
	rm -rf .venv .venv.lock .python37 demo/out .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
