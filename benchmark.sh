#!/usr/bin/env bash
# Usage: ./benchmark.sh
#
# Measures the latency of the zoo model, the limited frozen graph and every converted model, in
# turns, on val images: median, 90th percentile and, where they can be told apart, resize, network,
# box decoding and non-max suppression. Writes model/NAME/benchmark.json and benchmark.png.
#
#   MODEL_DIR  the model's folder (default: choose from a list; the only one)
#   ROUNDS     measured turns, one image each (default: 50)
#   THREADS    of TensorFlow and ONNX Runtime (default: theirs); TFLite's interpreter here has one
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	todus_on_model todus.commands.benchmark
}

main "$@"
