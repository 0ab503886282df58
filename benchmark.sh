#!/usr/bin/env bash
# Usage: ./benchmark.sh [--runtime NAME]
#
# Measures the latency of the zoo model, the limited frozen graph and every converted model, in
# turns, on val images: median, 90th percentile and, where they can be told apart, resize, network,
# box decoding and non-max suppression. Writes model/NAME/benchmark.json and benchmark.png.
# After make runtimes each .tflite and .onnx file is measured in each runtime that runs it; --runtime
# litert, onnxruntime, openvino or venv (TensorFlow 1.15's interpreter, ONNX Runtime 1.10) names one.
#
#   MODEL_DIR  the model's folder (default: choose from a list; the only one)
#   ROUNDS     measured turns, one image each (default: 50)
#   THREADS    of each runtime (default: its own); TensorFlow 1.15's TFLite interpreter has one
#   ALLOW_OPS  operators of a graph to run beside the known ones; docs/reliability.md
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_on_model todus.commands.benchmark "$@"
}

main "$@"
