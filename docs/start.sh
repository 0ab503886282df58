#!/usr/bin/env bash
# Usage: DATA_DIR=FOLDER RESULT_DIR=FOLDER ./start.sh
#
# Trains on a training service, such as that of Cloud Annotations: the service mounts
# a bucket at DATA_DIR and saves the files in RESULT_DIR. Upload this file beside a
# checkout of Todus or beside todus/, or set TODUS to the checkout.
#
#   DATA_DIR         the bucket: images and _annotations.json
#   RESULT_DIR       gets frozen graph, SavedModel, checkpoint, labels and TFLite file
#   TODUS            the checkout (default: the folder above this file, else todus/)
#   MODEL            a model of the zoo (default: ssd_mobilenet_v1_coco_2018_01_28)
#   NUM_TRAIN_STEPS  steps (default: 2000)
#   BATCH_SIZE       images per step (default: 16)
#   PYTHON           a Python with Todus's packages (default: the checkout's .venv,
#                    which this script installs)
set -euo pipefail

die() {
	printf 'start: %s\n' "$*" >&2
	exit 1
}

find_todus() {
	local here folder
	here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
	for folder in "${TODUS:-}" "$here/.." "$here/todus" "$PWD"; do
		if [[ -n "$folder" && -x "$folder/dataset-cloud.sh" ]]; then
			(cd "$folder" && pwd)
			return
		fi
	done
	die "no checkout of Todus here; set TODUS to its folder"
}

train() {
	local model="$1"
	[[ -n "${PYTHON:-}" ]] || make install
	NAME=service ./dataset-cloud.sh "$DATA_DIR"
	"${PYTHON:-.venv/bin/python}" -m model -m "$model" -d cloud/service
	export MODEL_DIR="$TODUS_HOME/model/$model"
	NUM_TRAIN_STEPS="${NUM_TRAIN_STEPS:-2000}" BATCH_SIZE="${BATCH_SIZE:-16}" ./train.sh
	./export.sh
	cp -R "$MODEL_DIR/inference-graph/." "$RESULT_DIR"
}

# The training's results are kept if the conversion fails.
convert() {
	if ./export-tflite.sh && ./convert-tflite.sh; then
		cp "$MODEL_DIR"/*.tflite "$RESULT_DIR"
	else
		printf 'start: no TFLite file; the frozen graph is in %s\n' "$RESULT_DIR" >&2
	fi
}

main() {
	[[ -n "${DATA_DIR:-}" && -n "${RESULT_DIR:-}" ]] ||
		die "set DATA_DIR (images and _annotations.json) and RESULT_DIR"
	cd "$(find_todus)"
	export TODUS_HOME="${TODUS_HOME:-$PWD}"
	mkdir -p "$RESULT_DIR"
	train "${MODEL:-ssd_mobilenet_v1_coco_2018_01_28}"
	convert
	printf 'start: done; results are in %s\n' "$RESULT_DIR"
}

main
