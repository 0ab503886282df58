#!/usr/bin/env bash
# Usage: ./export.sh
#
# Exports a checkpoint for inference: frozen graph, SavedModel, checkpoint, pipeline.config,
# labels.txt and label map, into model/NAME/inference-graph/. Replaces an earlier export.
#
#   MODEL_DIR          the model's folder (default: choose from a list; the only one)
#   CHECKPOINT_PREFIX  model.ckpt-N, latest, best, or pretrained: the slice
#                      (default: the one of these with the best AP on val; without val, latest;
#                      before any training, pretrained)
#   INPUT_TYPE         image_tensor, encoded_image_string_tensor or tf_example
#                      (default: image_tensor)
#   INPUT_SHAPE        of image_tensor: free, fixed (the model's input size) or HEIGHTxWIDTH
#                      (default: free)
#   BATCH              images in one batch (default: any number)
#   SCORE_THRESHOLD    detections below it are left out (default: pipeline.config's)
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	todus_on_model todus.commands.export
}

main "$@"
