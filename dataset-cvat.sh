#!/usr/bin/env bash
# Usage: [VARIABLE=value ...] ./dataset-cvat.sh FILE... IMAGES
#        [VARIABLE=value ...] ./dataset-cvat.sh DIR
#
# Makes dataset/cvat/NAME from annotations.xml, exported from CVAT as "CVAT for images 1.1", and the
# folder IMAGES. DIR holds both. Of polygons, masks, ellipses, cuboids and rotated boxes the box
# around them is used; points, lines, skeletons and tags are no boxes. Subsets named Train and
# Validation (or Test) are the splits. Does nothing when nothing has changed.
#
#   NAME           the dataset's name (default: the folder's)
#   REPLACE        1: replace a dataset of this name that was made from another folder (default: 0)
#   CATEGORIES     only these: "helmet vest", with commas, or @FILE, one a line (default: all)
#   RENAME         other names for classes: "license plate=plate, Auto=car" (default: none)
#   LABEL_MAP      a label map (.pbtxt) with your own ids (default: ids 1..N in the file's order)
#   KEEP_EMPTY     1: keep images of the file without a box, as negatives (default: 0)
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
# Example: NAME=cars ./dataset-cvat.sh ~/Downloads/annotations.xml ~/pictures/cars
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_python -m todus.commands.dataset cvat "$@"
}

main "$@"
