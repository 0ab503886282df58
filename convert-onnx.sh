#!/usr/bin/env bash
# Usage: ./convert-onnx.sh
#
# Converts the graph of ./export.sh to model/NAME/NAME.onnx for ONNX Runtime. LAYOUT=tensorrt
# converts the graph of ./export-tflite.sh to model/NAME/NAME-tensorrt.onnx, which ends with
# TensorRT's EfficientNMS instead of loops. A quantization-aware model becomes a file of float
# operators: rounded as in the graph for ONNX Runtime, only limited to the trained ranges for
# TensorRT. FILE.json describes the file's input, outputs and labels.
#
#   MODEL_DIR  the model's folder (default: choose from a list; the only one)
#   LAYOUT     todus, or tensorrt (default: todus)
#   OPSET      ONNX operator set, 11 or newer (default: 11)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	export PYTHONHASHSEED=0 # the same graph gives the same bytes
	todus_on_model todus.commands.convert onnx
}

main "$@"
