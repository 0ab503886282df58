#!/usr/bin/env bash
# Usage: ./eval.sh [EVAL OPTIONS]
#
# COCO average precision of a checkpoint on the val records of its dataset; the options are those of python -m eval.
#
#   MODEL_DIR          the model's folder (default: choose from a list; the only one)
#   CHECKPOINT_PREFIX  model.ckpt-N, latest, best, or pretrained: the zoo's weights limited to your classes, which is the AP that
#                      training starts from (default: latest; before any training, pretrained)
#   METRICS            coco, pascal or openimages: what AP means (default: coco)
#   PRECISION          with --all: the precision, from 0 to 1, that each class's score threshold is picked for (default: the best F1)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	local folder
	folder="$(todus_choose_model)" || exit 1
	todus_python -m eval -m "$folder" --checkpoint "${CHECKPOINT_PREFIX:-}" "$@"
}

main "$@"
