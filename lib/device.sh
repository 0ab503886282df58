#!/usr/bin/env bash
# Usage: make device MODEL=NAME
#        make device MODEL=ssd_mobilenet_v1_coco_2018_01_28 CATEGORIES="person car" [AS=DIR]
#        make device FILE=detect.tflite CATEGORIES="person car" [AS=DIR]
#
# Writes model/NAME/device, a folder to copy to a Raspberry Pi or another computer: the TFLite file,
# its description, labels.txt, detect.py and README.txt.
#
#   MODEL       a model under model/; with CATEGORIES one of the zoo, made as by make limited
#               (default: ssd_mobilenet_v1_coco_2018_01_28)
#   CATEGORIES  classes the model or FILE knows, as for ./dataset-limited.sh; of FILE all by default
#   FILE        a finished .tflite file, limited as by make slice; needs no make install
#   AS          the directory under model/ (default: the name of the model or file)
#   FORMAT      uint8, int8, float, float16 or dynamic, as for ./convert-tflite.sh, which makes it
#               (default: uint8 or int8 if there is one, else the model's own)
#   CALIBRATION images for int8 (default: 100)
#   ZOO_URL     a mirror of the zoo (default: the public server)
#   COCO_URL    a mirror of COCO's images, for int8 without a dataset (default: the public server)
#   CONNECTIONS  images fetched at once (default: 16)
#   TIMEOUT RETRIES RETRY_WAIT   patience, as in ./dataset-limited.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	if [[ -n "${FILE:-}" ]]; then
		todus_use_slice
		todus_python -m todus.commands.device
	fi
	MODEL="${MODEL:-ssd_mobilenet_v1_coco_2018_01_28}"
	MODEL_DIR="$(todus_model_to_pack)" || exit
	export MODEL_DIR
	compgen -G "$MODEL_DIR/*.tflite" >/dev/null ||
		[[ -f "$MODEL_DIR/inference-graph/tflite_graph.pb" ]] ||
		"$TODUS_REPO/export-tflite.sh" | todus_without_next >&2
	todus_python -m todus.commands.device
}

main "$@"
