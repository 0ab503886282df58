#!/usr/bin/env bash
# Usage: ./train.sh [--background | --status | --stop | --log | --plot] [--hosts FILE]
#
# Trains a prepared model from the zoo's own weights, limited to your classes; resumes where it stopped. SIGTERM and Ctrl-C save a
# checkpoint first. This also runs on: export MODEL_DIR=$(pwd)/model/NAME && nohup ./train.sh 1> output1.log 2> output2.log &
#
#   --background   trains on after this session, with its log in training/train.log
#   --status       whether it runs, step, loss, speed, time left, AP, memory
#   --stop         lets it save and end, and waits for that
#   --log          follows the log until the training ends
#   --plot         writes training/curves.png: loss, learning rate and AP by step
#   --hosts FILE   trains on several machines; docs/training.md has the file's form
#
#   MODEL_DIR        the model's folder (default: choose from a list; the only one)
#   NUM_TRAIN_STEPS  steps in all (default: pipeline.config's)
#   BATCH_SIZE       images a step; the learning rate scales with it (default: pipeline.config's)
#   LEARNING_RATE    a constant learning rate (default: pipeline.config's schedule)
#   SAVE_STEPS       steps between checkpoints (default: 500)
#   KEEP             newest checkpoints kept, beside the best (default: 5)
#   LOG_STEPS        steps between lines of progress (default: 10)
#   EVAL_STEPS       steps between evaluations on val, each a row in training/metrics.csv; 0 for none (default: 1000)
#   EVAL             inline, or separate for a process beside (default: inline)
#   EVAL_SAMPLE      evaluates one of so many images (default: 1)
#   EVAL_TRAIN       1 scores train images too, so that overfitting shows (default: 0)
#   TARGET_AP        stops at this AP; pretrained: at what the untrained slice scores (default: none)
#   PATIENCE         stops after so many evaluations without a better AP; 0 for never (default: 0)
#   BACKGROUND       1 is --background (default: 0)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	todus_on_model todus.commands.train "$@"
}

main "$@"
