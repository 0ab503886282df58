#!/usr/bin/env bash
# Usage: ./convert-onnx.sh
#
# Converts the graph of ./export.sh to model/NAME/NAME.onnx for ONNX Runtime and OpenVINO; with
# LAYOUT to model/NAME/NAME-LAYOUT.onnx, for what docs/onnx.md lists. LAYOUT=tensorrt converts the
# graph of ./export-tflite.sh. A quantization-aware model becomes a file of float operators: rounded
# as in the graph, or for TensorRT and jetson-inference only limited to the trained ranges.
# FILE.json describes the file's input, outputs and labels.
#
#   MODEL_DIR  the model's folder (default: choose from a list; the only one)
#   LAYOUT     todus, detectnet (jetson-inference), detection_output or yolonas (Frigate, OpenVINO),
#              raw (each anchor), opencv, or tensorrt (default: todus)
#   OPSET      ONNX operator set, 11 or newer (default: 11)
#   ALLOW_OPS  operators of a graph to convert beside the known ones; docs/reliability.md
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	export PYTHONHASHSEED=0 # the same graph gives the same bytes
	todus_on_model todus.commands.convert onnx
}

main "$@"
