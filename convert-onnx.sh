#!/usr/bin/env bash
# Usage: ./convert-onnx.sh
#
# Converts the graph that ./export.sh wrote to model/NAME/NAME.onnx, which ONNX Runtime runs with the same detections. With LAYOUT=tensorrt
# it is the graph of ./export-tflite.sh, with TensorRT's EfficientNMS at its end instead of loops, as model/NAME/NAME-tensorrt.onnx.
# What a device's program has to know of the file (input, outputs, labels) is in FILE.json.
#
#   MODEL_DIR  the model's folder (default: choose from a list; the only one)
#   LAYOUT     todus, or tensorrt (default: todus)
#   OPSET      ONNX operator set, 11 or newer (default: 11)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	todus_no_arguments "$@"
	export PYTHONHASHSEED=0 # the same graph gives the same bytes
	todus_on_model todus.commands.convert onnx
}

main "$@"
