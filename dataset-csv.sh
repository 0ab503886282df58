#!/usr/bin/env bash
# Usage: [VARIABLE=value ...] ./dataset-csv.sh FILE... IMAGES
#
# Makes dataset/csv/NAME of CSV files of boxes, a row a box, and the folder IMAGES. The first line names the columns, in any order:
# filename,width,height,class,xmin,ymin,xmax,ymax (width and height may be missing). Of several files, each is one split and begins with
# train, val or test (train_labels.csv), or lies in a folder called so. When nothing has changed it says so.
#
#   NAME           the dataset's name (default: FILE's; of several files IMAGES')
#   CATEGORIES     only these classes: "helmet vest", with commas, or @FILE with one a line (default: all)
#   RENAME         other names for classes: "license plate=plate, Auto=car" (default: none)
#   LABEL_MAP      a label map (.pbtxt) with ids of your own (default: ids 1..N in the alphabet's order)
#   KEEP_EMPTY     1: keep images whose rows have no box of these classes, as negatives (default: 0)
#   VAL            share of the images for validation, of every class, where the files are no splits (default: 0.2)
#   SEED           draws the split and the order (default: 0)
#   EXIF           what the boxes were drawn on: upright, stored, or auto, as width and height tell (default: auto, else upright)
#   MAX_DROPPED    per cent of images or boxes that may be unusable (default: 5%)
#   JOBS           processes; the bytes do not depend on it (default: 0, the cores)
#   TODUS_HOME     where dataset/ lies (default: the repository)
#
# Example: NAME=cards ./dataset-csv.sh images/train_labels.csv images/test_labels.csv images
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	todus_python -m todus.commands.dataset csv "$@"
}

main "$@"
