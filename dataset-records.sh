#!/usr/bin/env bash
# Usage: [VARIABLE=value ...] ./dataset-records.sh TRAIN VAL LABEL_MAP
#
# Makes dataset/records/NAME from TFRecords of the TensorFlow Object Detection API that exist
# already, also compressed by GZIP or ZLIB. TRAIN and VAL are files or quoted patterns of files,
# such as "train.record-*"; with TRAIN alone VAL is a share of it. Keys that are missing are made,
# classes are found by name, else by id, in LABEL_MAP, a .pbtxt file. Every record is checked and
# written again; damaged ones are named by file and offset. Does nothing when nothing has changed.
#
#   NAME           the dataset's name (default: that of TRAIN's folder)
#   REPLACE        1: replace a dataset of this name that was made from another folder (default: 0)
#   CATEGORIES     only these: "helmet vest", with commas, or @FILE, one a line (default: all)
#   RENAME         other names for classes: "license plate=plate, Auto=car" (default: none)
#   LABEL_MAP      a label map (.pbtxt) with your own ids (default: 1..N, in the given order)
#   KEEP_EMPTY     1: keep images whose records have no such box, as negatives (default: 0)
#   NEGATIVES      a folder of pictures that hold none of the classes, as a camera's false alarms;
#                  VAL of them go to val (default: none)
#   VAL            share of the images for validation, if there is only TRAIN (default: 0.2)
#   TEST           share of the images for a third split, test (default: 0)
#   GROUP          a regular expression; files whose first group in it is equal go to one split: the
#                  frames of a video (default: (.+)\.rf\., copies that Roboflow augmented)
#   SEED           draws the split and the order (default: 0)
#   EXIF           what the boxes were drawn on: upright, stored, or auto: stored, as the OD API
#                  decodes images (default: auto)
#   BALANCE        1: repeat train images of rare classes, as LVIS does; a share of the images, such
#                  as 0.1: of classes in fewer (default: 0)
#   MAX_SIDE       shrinks images whose longer side has more pixels, and their boxes (default: none)
#   MAX_DROPPED    per cent of images or boxes that may be unusable (default: 5%)
#   JOBS           processes; the bytes do not depend on it (default: 0, the cores)
#   RUNNER         memory, processes or --runner=...: Apache Beam writes the records;
#                  docs/scale.md (default: this command's own processes)
#   TODUS_HOME     where dataset/ lies (default: the repository)
#
# Example: ./dataset-records.sh "tf/train.record-*" "tf/val.record-*" tf/label_map.pbtxt
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_python -m todus.commands.dataset records "$@"
}

main "$@"
