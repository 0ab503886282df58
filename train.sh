#!/usr/bin/env bash
# Usage: ./train.sh [--background | --status | --stop | --log | --plot] [--hosts FILE]
#
# Trains a prepared model from the slice; resumes where it stopped. SIGTERM and Ctrl-C save a
# checkpoint first. This also works:
# export MODEL_DIR=$(pwd)/model/NAME && nohup ./train.sh 1> output1.log 2> output2.log &
#
#   --background   trains on after this session, with its log in training/train.log
#   --status       whether it runs, step, loss, speed, time left, AP, memory
#   --stop         saves a checkpoint, ends the training, and waits for that
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
#   EVAL_STEPS       steps between evaluations on val, rows of training/metrics.csv; 0: none
#                    (default: a tenth of the run, 100 to 1000)
#   EVAL             inline, or separate for a separate process (default: inline)
#   EVAL_SAMPLE      evaluates one of so many images (default: 1)
#   EVAL_TRAIN       1: also evaluates train images, which shows overfitting (default: 0)
#   TARGET_AP        stops at this AP; pretrained: at the AP of the slice (default: none)
#   PATIENCE         stops after so many evaluations without a better AP; 0: never (default: 0)
#   COCO_NEGATIVES   with python -m model --keep: images of COCO without the new classes, to learn
#                    to be silent in; 0: none (default: 300)
#   CACHE_GB         with --keep: disk for the features of the images, while it runs (default: 4)
#   COCO_URL         the server of these images (default: http://images.cocodataset.org)
#   CONNECTIONS      images fetched at once (default: 16)
#   TIMEOUT RETRIES RETRY_WAIT   as in ./dataset-limited.sh (defaults: 60, 10, 1)
#   BACKGROUND       1 is --background (default: 0)
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_on_model todus.commands.train "$@"
}

main "$@"
