#!/usr/bin/env bash
# Usage: ./export-tflite.sh
#
# Exports a checkpoint as the graph that ./convert-tflite.sh converts:
# model/NAME/inference-graph/tflite_graph.pb and .pbtxt.
#
#   MODEL_DIR          the model's folder (default: choose from a list; the only one)
#   CHECKPOINT_PREFIX  model.ckpt-N, latest, best, or pretrained: the slice
#                      (default: the one of these with the best AP on val; without val, latest;
#                      before any training, pretrained)
#   MAX_DETECTIONS     detections an image (default: pipeline.config's; without one 100)
#   TFLITE_NMS         regular: each class separately, as the zoo evaluates; fast: one pass over all
#                      classes, for devices (default: regular)
#   SCORE_THRESHOLD    detections below it are left out (default: pipeline.config's)
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	todus_on_model todus.commands.export_tflite
}

main "$@"
