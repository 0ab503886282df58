#!/usr/bin/env bash
# Usage: ./convert-tflite.sh
#
# Converts the graph of ./export-tflite.sh to model/NAME/NAME.tflite, or to NAME-FORMAT.tflite for a
# FORMAT other than the graph's own. FILE.json describes its input, normalisation, outputs, labels
# and operators; TFLite metadata is packed into the file. Runs edgetpu_compiler, where it is
# installed, on 8-bit files, which writes NAME_edgetpu.tflite.
#
#   MODEL_DIR    the model's folder (default: choose from a list; the only one)
#   FORMAT       uint8    8 bits, of a model trained quantization-aware (its default)
#                float    as trained (the default of every other)
#                float16  half the size
#                dynamic  8-bit weights, float in between
#                int8     8 bits after training, with ranges from images of the train records
#                dummy    8 bits with made-up ranges: for measuring speed only
#   CALIBRATION  images for int8 (default: 100)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	todus_on_model todus.commands.convert tflite
}

main "$@"
