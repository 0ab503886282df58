#!/usr/bin/env bash
# Usage: ./benchmark.sh
#
# Latency of the zoo model, the limited frozen graph and every converted format, taking turns in one run on val images: median, 90th
# percentile, and where they can be told apart resize, network, box decoding and non-max suppression. Prints a table, and writes
# model/NAME/benchmark.json and benchmark.png.
#
#   MODEL_DIR  the model's folder (default: choose from a list; the only one)
#   ROUNDS     measured turns, one image each (default: 50)
#   THREADS    of TensorFlow and ONNX Runtime (default: theirs); TFLite's interpreter here has one
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	todus_no_arguments "$@"
	todus_on_model todus.commands.benchmark
}

main "$@"
