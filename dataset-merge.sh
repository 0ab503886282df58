#!/usr/bin/env bash
# Usage: [VARIABLE=value ...] ./dataset-merge.sh DATASET DATASET...
#
# Joins datasets, named as -d takes them (limited, voc/raccoon, a path), to dataset/merged/NAME with
# one label map. Classes of one name become one class; the first dataset's classes come first. An
# image in several datasets is written once, with the boxes of all; an image that is in val or test
# of one is not in train. One DATASET is enough with NEGATIVES. Does nothing when nothing has
# changed.
#
#   NAME           the dataset's name (default: the names joined with -)
#   CATEGORIES     only these classes, with spaces or commas, or @FILE, one a line (default: all)
#   RENAME         other names for classes: "racoon=raccoon" (default: none)
#   LABEL_MAP      a label map (.pbtxt) with your own ids (default: ids 1..N)
#   NEGATIVES      a folder of pictures that hold none of the classes, as a camera's false alarms;
#                  a fifth of them go to val (default: none)
#   BALANCE        1: repeat train images of rare classes, as LVIS does; a share of the images, such
#                  as 0.1: of classes in fewer (default: 0)
#   WEIGHTS        how often training reads the images of a dataset, against the others':
#                  "limited=1 voc/raccoon=3" (default: all 1)
#   SEED           draws the order (default: 0)
#   JOBS           processes; the bytes do not depend on it (default: 0, the cores)
#   RUNNER         memory, processes or --runner=...: Apache Beam writes the records;
#                  docs/scale.md (default: this command's own processes)
#   TODUS_HOME     where dataset/ lies (default: the repository)
#
# Example: NAME=zoo ./dataset-merge.sh limited voc/raccoon
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_python -m todus.commands.dataset merge "$@"
}

main "$@"
