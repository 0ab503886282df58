#!/usr/bin/env bash
# Usage: make frigate CATEGORIES="person dog" [MODEL=ZOO_NAME] [AS=DIR]
#        make frigate MODEL=NAME
#        make frigate FILE=detect.tflite CATEGORIES="person dog" [AS=DIR]
#
# Writes model/NAME/frigate, a folder for Frigate: an 8-bit TFLite file, an ONNX file, labelmap.txt,
# config.yml for each of Frigate's detectors that run them, and README.txt.
#
#   MODEL       a model under model/, whose latest export is taken; with CATEGORIES one of the zoo,
#               limited without training (default: ssdlite_mobiledet_edgetpu_320x320_coco_2020_05_19)
#   CATEGORIES  classes the model or FILE knows, as for ./dataset-limited.sh; of FILE all by default
#   FILE        a finished .tflite file, limited as by make slice; needs no make install
#   AS          the directory under model/ (default: the name of the model or file)
#   ZOO_URL     a mirror of the zoo (default: the public server)
#   COCO_URL    a mirror of COCO's images, for int8 without a dataset (default: the public server)
#   CONNECTIONS  images fetched at once (default: 16)
#   TIMEOUT RETRIES RETRY_WAIT   patience, as in ./dataset-limited.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	[[ -z "${FILE:-}" ]] || todus_use_slice
	todus_python -m todus.commands.frigate
}

main "$@"
