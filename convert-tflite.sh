#!/usr/bin/env bash
# Usage: ./convert-tflite.sh
#
# Converts the graph that ./export-tflite.sh wrote to model/NAME/NAME.tflite, with what a device's program has to know of it
# (input, normalisation, outputs, labels) in NAME.tflite.json.
#
#   MODEL_DIR  the model's folder (default: choose from a list; the only one)
#   FORMAT     uint8 or float (default: uint8 where the model was trained quantization-aware, else float)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_no_arguments "$@"
	todus_on_model todus.commands.convert_tflite
}

main "$@"
