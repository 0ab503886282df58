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
#                int8     8 bits after training, with ranges from images of the train records;
#                         without a dataset, from val images of COCO with the model's classes
#                dummy    8 bits with made-up ranges: for measuring speed only
#   INPUT_DTYPE  of int8: uint8 takes pixels, as Coral, Frigate and MediaPipe give them; int8 takes
#                pixels minus 128; float32 takes normalised ones (default: uint8)
#   CALIBRATION  images for int8 (default: 100)
#   ALLOW_OPS    operators of a graph to convert beside the known ones; docs/reliability.md
#
# Download of COCO's images, for int8 without a dataset
#   COCO_URL     the server or a mirror of it (default: http://images.cocodataset.org)
#   CONNECTIONS  images fetched at once (default: 16)
#   TIMEOUT      seconds without a byte before a connection is closed (default: 60)
#   RETRIES      tries without a new byte before the download fails (default: 10)
#   RETRY_WAIT   seconds before the first retry, doubling (default: 1)
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	todus_on_model todus.commands.convert tflite
}

main "$@"
