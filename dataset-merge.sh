#!/usr/bin/env bash
# Usage: [VARIABLE=value ...] ./dataset-merge.sh DATASET DATASET...
#
# Joins datasets, named as -d takes them (limited, voc/raccoon, a path), to dataset/merged/NAME with one label map. Classes of one name are
# one class; the first dataset's classes come first. An image that several datasets have is there once, with the boxes of all; where it
# is in val or test of one, it is not trained on. When nothing has changed it says so.
#
#   NAME           the dataset's name (default: the names joined with -)
#   CATEGORIES     only these classes, with spaces or commas, or @FILE with one a line (default: all)
#   RENAME         other names for classes: "racoon=raccoon" (default: none)
#   LABEL_MAP      a label map (.pbtxt) with ids of your own (default: ids 1..N)
#   SEED           draws the order (default: 0)
#   JOBS           processes; the bytes do not depend on it (default: 0, the cores)
#   TODUS_HOME     where dataset/ lies (default: the repository)
#
# Example: NAME=zoo ./dataset-merge.sh limited voc/raccoon
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	todus_python -m todus.commands.dataset merge "$@"
}

main "$@"
