# Todus. `make` alone prints the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# make frigate and make proof have defaults of their own.
ifeq ($(filter frigate proof,$(MAKECMDGOALS)),)
MODEL ?= ssd_mobilenet_v1_coco_2018_01_28
endif
CATEGORIES ?=
# Not expanded: make would run a $(shell ...) in a name.
override MODEL := $(value MODEL)
override CATEGORIES := $(value CATEGORIES)
override K := $(value K)
override FILE := $(value FILE)
override DATASET := $(value DATASET)
override PHOTO := $(value PHOTO)
export MODEL CATEGORIES K FILE DATASET PHOTO

SHELL_FILES = *.sh lib/*.sh lib/*.bash demo/*.sh .ci/run tests/*.bash
BATS_FILES = tests/*.bats

.PHONY: help install dev demo limited slice frigate device test lint runtimes beam bench proof report history doctor torture fuzz release clean

# The targets by what a person wants; a ### line begins a group.
help:
	@awk -F ':.*## ' '/^### / { print (n++ ? "\n" : "") substr($$0, 5) } \
		/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

### begin

install: ## set up .venv with Python 3.7 and every pinned package
	@lib/install.sh runtime

doctor: ## check this machine and your files; DEEP=1: TensorFlow too
	@lib/doctor.sh

demo: install ## all steps on a drawn miniature of COCO, in two minutes
	@demo/run.sh

### a smaller model, without training

limited: install ## limit a zoo MODEL to CATEGORIES: frozen graph and TFLite
	@lib/limited.sh

slice: ## limit a finished FILE (.tflite, .pb, .onnx) to CATEGORIES
	@lib/slice.sh

### folders for programs and devices

frigate: $(if $(value FILE),,install) ## a folder for Frigate: TFLite, ONNX, labels, config.yml
	@lib/frigate.sh

device: $(if $(value FILE),,install) ## a folder for a Raspberry Pi: TFLite and a program
	@lib/device.sh

### look at models and trainings

report: install ## one HTML page about a MODEL: precision, curves, speed
	@lib/report.sh

history: install ## a table of every training under model/
	@lib/history.sh

proof: install ## all classes against some: AP, ms, MB; MODEL= DATASET= PHOTO=
	@lib/proof.sh

bench: install ## speed as ratios in one run; SECTION=data|train|eval|forms
	@lib/bench.sh

### more programs

runtimes: install ## newest LiteRT, ONNX Runtime and OpenVINO for eval
	@lib/runtimes.sh

beam: install ## add Apache Beam to .venv, for datasets on several machines
	@lib/install.sh beam

### work on Todus

test: dev ## all tests; K=EXPRESSION: a part; COVERAGE=1
	@lib/test.sh

lint: dev ## shellcheck, shfmt and ruff
	@source .venv/bin/activate && shellcheck -x $(SHELL_FILES) && shfmt -d $(SHELL_FILES) && \
		shfmt -d -ln bats $(BATS_FILES) && ruff check . && ruff format --check .

dev: install
	@lib/install.sh dev

torture: dev ## disturb every command; COMMANDS= TRIALS= SEED= WRITE=1
	@lib/torture.sh

fuzz: dev ## look for inputs that break a parser; MINUTES=5 TARGET=tar
	@lib/fuzz.sh

release: dev ## build the wheel of todus-slice in dist/, and check it
	@lib/release.sh

clean: ## remove all that is installed or built; keep dataset/, model/
	rm -rf .venv .venv.lock .python37 .slice .slice.lock build dist todus.egg-info .runtimes .runtimes.lock .python311 \
		demo/out .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
