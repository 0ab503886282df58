#!/usr/bin/env bash
# Usage: make limited MODEL=ssd_mobilenet_v1_coco_2018_01_28 CATEGORIES="bear horse" [AS=DIR]
#
# Limits a zoo model to your classes and exports it as a frozen graph and a TFLite file, without a
# dataset or training.
#
#   MODEL       the model's name in the zoo; python -m model --list prints them
#   CATEGORIES  classes the model knows, as for ./dataset-limited.sh
#   AS          the directory under model/ (default: the zoo's name)
#   ZOO_URL     a mirror of the zoo (default: the public server)
#   TIMEOUT RETRIES RETRY_WAIT   patience, as in ./dataset-limited.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	[[ -n "${CATEGORIES:-}" ]] || todus_usage_error 'needs CATEGORIES="..."'
	local name="${AS:-$MODEL}"
	(todus_python -m model -m "$MODEL" --categories "$CATEGORIES" --as "$name") | todus_without_next
	export MODEL_DIR="$TODUS_HOME/model/$name" CHECKPOINT_PREFIX=pretrained
	"$TODUS_REPO/export.sh" | todus_without_next
	"$TODUS_REPO/export-tflite.sh" | todus_without_next
	"$TODUS_REPO/convert-tflite.sh" | todus_without_next
	echo "next: python -m detect -m $name PHOTO.jpg"
}

main "$@"
