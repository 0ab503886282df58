#!/usr/bin/env bash
# Usage: [VARIABLE=value ...] ./dataset-voc.sh DIR
#
# Makes dataset/voc/NAME of your own images with Pascal VOC XML files, as LabelImg writes them. DIR holds images and XML in one folder, or
# annotations/ and images/, or Annotations/, JPEGImages/ and ImageSets/, in any case; or any of these below train/ and test/ (or val/).
# Also writes train_labels.csv and test_labels.csv there. Prints what was left out and mended. When nothing has changed it says so.
#
# Which classes
#   NAME           the dataset's name (default: DIR's)
#   CATEGORIES     only these classes: "helmet vest", with commas, or @FILE with one a line (default: all)
#   RENAME         other names for classes: "license plate=plate, Auto=car" (default: none)
#   LABEL_MAP      a label map (.pbtxt) with ids of your own (default: ids 1..N in the alphabet's order)
#   KEEP_EMPTY     1: keep images without a box, or without XML, as negatives (default: 0)
#
# Which side
#   VAL            share of the images for validation, of every class, where DIR has no split of its own (default: 0.2)
#   SEED           draws the split and the order (default: 0)
#
# Images
#   EXIF           what the boxes were drawn on: upright, stored, or auto, as width and height in the XML tell (default: auto, else upright)
#   MAX_DROPPED    per cent of images or boxes that may be unusable (default: 5%)
#   JOBS           processes; the bytes do not depend on it (default: 0, the cores)
#
#   TODUS_HOME     where dataset/ lies (default: the repository)
#
# Example: RENAME="racoon=raccoon" ./dataset-voc.sh ~/pictures/raccoon
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	todus_python -m todus.commands.dataset voc "$@"
}

main "$@"
