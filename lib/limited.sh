#!/usr/bin/env bash
# Usage: make limited MODEL=ssd_mobilenet_v1_coco_2018_01_28 CATEGORIES="bear horse giraffe" [AS=DIR]
#
# A zoo model limited to your classes, as a frozen graph and a TFLite file, without a dataset or any training.
#
#   MODEL       the zoo's name for it; python -m model --list shows them
#   CATEGORIES  classes the model knows, as for ./dataset-limited.sh
#   AS          the directory under model/ (default: the zoo's name)
#   ZOO_URL     a mirror of the zoo (default: the public server)
#   TIMEOUT RETRIES RETRY_WAIT   patience, as in ./dataset-limited.sh
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

# without_next: what the single commands say but for the command to type next, which this script runs itself.
without_next() { sed '/^next: /d'; }

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	todus_no_arguments "$@"
	[[ -n "${CATEGORIES:-}" ]] || todus_usage_error 'needs CATEGORIES="..."'
	local name="${AS:-$MODEL}"
	(todus_python -m model -m "$MODEL" --categories "$CATEGORIES" --as "$name") | without_next
	export MODEL_DIR="$TODUS_HOME/model/$name" CHECKPOINT_PREFIX=pretrained
	"$here/export.sh" | without_next
	"$here/export-tflite.sh" | without_next
	"$here/convert-tflite.sh" | without_next
	echo "next: python -m detect -m $name PHOTO.jpg"
}

main "$@"
