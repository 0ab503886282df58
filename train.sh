#!/usr/bin/env bash
# Usage: ./train.sh
#
# Trains a prepared model from the zoo's own weights, limited to your classes; resumes where it stopped. SIGTERM and Ctrl-C save a
# checkpoint first. In the background: export MODEL_DIR=$(pwd)/model/NAME && ./train.sh 1> output1.log 2> output2.log &
#
#   MODEL_DIR        the model's folder (default: choose from a list; the only one)
#   NUM_TRAIN_STEPS  steps in all (default: pipeline.config's)
#   BATCH_SIZE       images a step; the learning rate scales with it (default: pipeline.config's)
#   LEARNING_RATE    a constant learning rate (default: pipeline.config's schedule)
#   SAVE_STEPS       steps between checkpoints (default: 500)
#   KEEP             newest checkpoints kept (default: 5)
#   LOG_STEPS        steps between lines of progress (default: 10)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_no_arguments "$@"
	todus_on_model todus.commands.train
}

main "$@"
