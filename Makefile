# Todus. `make` alone prints the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# make frigate has a default of its own.
ifeq ($(filter frigate,$(MAKECMDGOALS)),)
MODEL ?= ssd_mobilenet_v1_coco_2018_01_28
endif
CATEGORIES ?=
# Not expanded: make would run a $(shell ...) in a name.
override MODEL := $(value MODEL)
override CATEGORIES := $(value CATEGORIES)
override K := $(value K)
override FILE := $(value FILE)
export MODEL CATEGORIES K FILE

SHELL_FILES = *.sh lib/*.sh demo/*.sh .ci/run tests/*.bash
BATS_FILES = tests/*.bats

.PHONY: help install dev demo limited slice frigate device test lint runtimes bench report history doctor torture clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

install: ## set up .venv with Python 3.7 and every pinned package
	@lib/install.sh runtime

demo: install ## limit, train and export a detector on a miniature COCO, in minutes
	@demo/run.sh

limited: install ## limit a zoo MODEL to CATEGORIES: frozen graph and TFLite, no training
	@lib/limited.sh

slice: ## limit a finished FILE (.tflite, .pb, .onnx) to CATEGORIES, without TensorFlow
	@lib/slice.sh

frigate: $(if $(value FILE),,install) ## write the folder model/MODEL/frigate: TFLite, ONNX, labels and config for Frigate
	@lib/frigate.sh

device: $(if $(value FILE),,install) ## write the folder model/MODEL/device: TFLite file and program for a Raspberry Pi
	@lib/device.sh

test: dev ## run the tests, pytest and bats; K=EXPRESSION: a part; COVERAGE=1: coverage too
	@lib/test.sh

lint: dev ## shellcheck, shfmt and ruff
	@source .venv/bin/activate && shellcheck -x $(SHELL_FILES) && shfmt -d $(SHELL_FILES) && \
		shfmt -d -ln bats $(BATS_FILES) && ruff check . && ruff format --check .

dev: install
	@lib/install.sh dev

runtimes: install ## set up .runtimes: the newest LiteRT, ONNX Runtime and OpenVINO for eval
	@lib/runtimes.sh

bench: install ## measure speed as ratios within one run; SECTION=data|train|eval|forms
	@lib/bench.sh

report: install ## write one HTML page about a MODEL: precision, curves, sizes, speed
	@lib/report.sh

history: install ## print one table of every training under model/
	@lib/history.sh

doctor: ## check this machine, its Python, dataset/ and model/; DEEP=1: TensorFlow too
	@lib/doctor.sh

torture: dev ## disturb every command and compare the outputs; COMMANDS= TRIALS= SEED= WRITE=1
	@lib/torture.sh

clean: ## remove .venv, .runtimes and the files of the demo and the tests; keep dataset/ and model/
	rm -rf .venv .venv.lock .python37 .slice .slice.lock build todus.egg-info .runtimes .runtimes.lock .python311 \
		demo/out .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
