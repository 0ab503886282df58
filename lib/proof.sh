#!/usr/bin/env bash
# Usage: make proof [PHOTO=photo.jpg]
#        make proof MODEL=ssd_mobilenet_v1_coco_2018_01_28 DATASET=limited [QUANTIZED=ZOO_NAME]
#
# Compares a zoo model that has all its classes with the same model limited to some, in the same
# runtimes: AP, milliseconds, megabytes, and each detection of the kept classes. Takes two minutes
# on the drawn miniature. Writes results.json and pictures into a folder that it prints.
#
#   MODEL      a model of the zoo (default: that of the miniature)
#   DATASET    with MODEL: a dataset of the classes to keep, with real images
#   QUANTIZED  with MODEL: a quantization-aware model of the zoo, for the 8-bit file (default: none)
#   PHOTO      a photo of yours, drawn with the detections of both models
#   WRITE      1: write docs/proof and the table in README.md instead (default: 0)
#   ZOO_URL    a mirror of the zoo (default: the public server)
#   TIMEOUT RETRIES RETRY_WAIT   patience, as in ./dataset-limited.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	todus_python -m bench.proof
}

main "$@"
