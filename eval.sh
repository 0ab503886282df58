#!/usr/bin/env bash
# Usage: ./eval.sh [EVAL OPTIONS]
#
# COCO average precision of a checkpoint on the val records of its dataset, or with --split test on
# its test records. Options: those of python -m eval.
#
#   MODEL_DIR          the model's folder (default: choose from a list; the only one)
#   CHECKPOINT_PREFIX  model.ckpt-N, latest, best, or pretrained: the slice, which is the checkpoint
#                      that training starts from (default: latest; before any training, pretrained)
#   METRICS            coco, pascal or openimages: the definition of AP (default: coco)
#   PRECISION          with --all: the precision, from 0 to 1, of each class's score threshold
#                      (default: the best F1)
#   THREADS            of one call of the runtime (default: one, and as many calls as cores)
#   ALLOW_OPS          operators of a graph to run beside the known ones; docs/reliability.md
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	local folder
	folder="$(todus_choose_model)" || exit 1
	todus_python -m eval -m "$folder" --checkpoint "${CHECKPOINT_PREFIX:-}" "$@"
}

main "$@"
