#!/usr/bin/env bash
# Usage: [VARIABLE=value ...] ./dataset-label.sh IMAGES -m MODEL [--format FORM]
#
# Labels a folder of images with a detector, as Pascal VOC XML for you to look over in LabelImg:
# images/ and annotations/, doubtful/ with those to look at first, and classes.txt. Each image and
# its mirror image are detected, and their boxes and scores averaged. MODEL is a model under model/
# (--format, --checkpoint and --runtime as for python -m detect) or one of the zoo, which is
# downloaded. XML that exists is never overwritten: run it again after new images, or after an
# interruption. An image that has XML of its own is copied with it.
#
#   CATEGORIES     only these classes: "person car", with commas, or @FILE, one a line (default:
#                  those that MODEL is prepared for)
#   THRESHOLD      the score from which a detection is a label: 0.4, or "person=0.5, car=0.4"
#                  (default: for each class that with the best F1 on val, which python -m eval --all
#                  stores, else 0.5)
#   DOUBTFUL       detections from this share of the threshold up to it are doubtful boxes; 1: there
#                  are none (default: 0.8)
#   OUT            the folder to write (default: IMAGES-labelled, beside IMAGES)
#   THREADS        threads of the detector (default: the runtime's)
#   ALLOW_OPS      operators of a graph to run beside the known ones; docs/reliability.md
#   ZOO_URL        a mirror of the zoo (default: the public server)
#   TIMEOUT RETRIES RETRY_WAIT   patience, as in ./dataset-limited.sh
#   TODUS_HOME     where model/ lies (default: the repository)
#
# Example: ./dataset-label.sh ~/pictures/yard -m ssd_mobilenet_v1_coco_2018_01_28
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_python -m todus.commands.label "$@"
}

main "$@"
