#!/usr/bin/env bash
# Usage: ./convert-tflite.sh
#
# Converts the graph that ./export-tflite.sh wrote to model/NAME/NAME.tflite, or NAME-FORMAT.tflite for a FORMAT that is not the graph's
# own, with what a device's program has to know of it (input, normalisation, outputs, labels, operators) in FILE.json, and packed into the
# file as TFLite metadata. Where edgetpu_compiler is installed it is run on 8-bit files, and NAME_edgetpu.tflite lies beside them.
#
#   MODEL_DIR    the model's folder (default: choose from a list; the only one)
#   FORMAT       uint8    8 bits, of a model trained quantization-aware (its default)
#                float    as trained (the default of every other)
#                float16  half the size
#                dynamic  8-bit weights, float in between
#                int8     8 bits after training, with ranges from images of the dataset's train records
#                dummy    8 bits with made-up ranges: for measuring speed only
#   CALIBRATION  images for int8 (default: 100)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	todus_no_arguments "$@"
	todus_on_model todus.commands.convert tflite
}

main "$@"
