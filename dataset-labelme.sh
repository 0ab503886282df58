#!/usr/bin/env bash
# Usage: [VARIABLE=value ...] ./dataset-labelme.sh DIR
#
# Makes dataset/labelme/NAME from images with JSON files that LabelMe wrote, in one folder or in
# folders beside each other, such as images/ and json/, or below train/ and val/. Of polygons,
# circles and masks the box around them is used; points and lines are no boxes. Does nothing when
# nothing has changed.
#
#   NAME           the dataset's name (default: DIR's)
#   REPLACE        1: replace a dataset of this name that was made from another folder (default: 0)
#   CATEGORIES     only these: "helmet vest", with commas, or @FILE, one a line (default: all)
#   RENAME         other names for classes: "license plate=plate, Auto=car" (default: none)
#   LABEL_MAP      a label map (.pbtxt) with your own ids (default: ids 1..N, alphabetical)
#   KEEP_EMPTY     1: keep images without a box, or without JSON, as negatives (default: 0)
#   NEGATIVES      a folder of pictures that hold none of the classes, as a camera's false alarms;
#                  VAL of them go to val (default: none)
#   VAL            share of the images for validation, if there is no split (default: 0.2)
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
# Example: NAME=leaves ./dataset-labelme.sh ~/pictures/leaves
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_python -m todus.commands.dataset labelme "$@"
}

main "$@"
