#!/usr/bin/env bash
# Usage: [VARIABLE=value ...] ./dataset-csv.sh FILE... IMAGES
#
# Makes dataset/csv/NAME from CSV files, one box a row, and the folder IMAGES. The first line names
# the columns, in any order: filename,width,height,class,xmin,ymin,xmax,ymax (width and height may
# be missing), or by other usual names: image_id, label, x_min, x1, left. Roboflow's file for Keras
# RetinaNet, which has no first line, is read too. With several files each is one split: its name
# starts with train, val or test (train_labels.csv), or its folder has that name. Does nothing when
# nothing has changed.
#
#   NAME           the dataset's name (default: FILE's; of several files IMAGES')
#   REPLACE        1: replace a dataset of this name that was made from another folder (default: 0)
#   CATEGORIES     only these: "helmet vest", with commas, or @FILE, one a line (default: all)
#   RENAME         other names for classes: "license plate=plate, Auto=car" (default: none)
#   LABEL_MAP      a label map (.pbtxt) with your own ids (default: ids 1..N, alphabetical)
#   KEEP_EMPTY     1: keep images without a row, or without a box in it, as negatives (default: 0)
#   NEGATIVES      a folder of pictures that hold none of the classes, as a camera's false alarms;
#                  VAL of them go to val (default: none)
#   VAL            share of the images for validation, if FILE is no split (default: 0.2)
#   TEST           share of the images for a third split, test (default: 0)
#   GROUP          a regular expression; files whose first group in it is equal go to one split: the
#                  frames of a video (default: (.+)\.rf\., copies that Roboflow augmented)
#   SEED           draws the split and the order (default: 0)
#   EXIF           what the boxes were drawn on: upright, stored, or auto: by width and height, else
#                  upright (default: auto)
#   BALANCE        1: repeat train images of rare classes, as LVIS does; a share of the images, such
#                  as 0.1: of classes in fewer (default: 0)
#   MAX_SIDE       shrinks images whose longer side has more pixels, and their boxes (default: none)
#   MAX_DROPPED    per cent of images or boxes that may be unusable (default: 5%)
#   JOBS           processes; the bytes do not depend on it (default: 0, the cores)
#   RUNNER         memory, processes or --runner=...: Apache Beam writes the records;
#                  docs/scale.md (default: this command's own processes)
#   TODUS_HOME     where dataset/ lies (default: the repository)
#
# Example: NAME=cards ./dataset-csv.sh images/train_labels.csv images/test_labels.csv images
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_python -m todus.commands.dataset csv "$@"
}

main "$@"
