#!/usr/bin/env bash
# Usage: CATEGORIES="Polar_bear Penguin" [VARIABLE=value ...] ./dataset-openimages.sh
#        [VARIABLE=value ...] ./dataset-openimages.sh DIR
#
# Makes dataset/openimages/NAME of classes of Open Images (601 have boxes) and fetches only the images that have them. It may be stopped at
# any time and run again: it goes on. With DIR it reads a tree that OIDv4_ToolKit has downloaded (its OID folder). When nothing has
# changed it says so. The training set's box file has 2.3 GB, that of validation and test 25 and 77 MB.
#
# Which classes
#   CATEGORIES     classes: Polar_bear, "Polar bear" or /m/0633h, with spaces or commas, or @FILE with one a line; with DIR optional
#   NAME           the dataset's name (default: the first classes; with DIR, DIR's)
#   EXPAND         1: boxes of the classes below count too (Vehicle brings Car); classes: they become classes of their own (default: 0)
#   EXCLUDE        leave out boxes with these flags: occluded truncated group depiction inside (default: none; a group becomes a crowd)
#   RENAME         other names for classes: "Vehicle registration plate=plate" (default: none)
#   LABEL_MAP      a label map (.pbtxt) with ids of your own (default: ids 1..N in Open Images' order)
#
# Which images
#   SPLITS         any of train,validation,test (default: train,validation); what is not train becomes val; one alone is split by VAL
#   MAX_IMAGES     at most so many a split, in proportion over the classes (default: 0, all)
#   VAL            share of the images for validation where train is not among SPLITS (default: 0.2)
#   SEED           draws images, split and order (default: 0)
#   STATS_ONLY     1: only print images and boxes a class and about how much is to come; fetches no image (default: 0)
#
# Download and records
#   OPENIMAGES_URL      a mirror with v6/oidv6-train-annotations-bbox.csv ... and train/ID.jpg ..., or such a folder (default: the public servers)
#   OPENIMAGES_VERSION  4, 5, 6 or 7; the box files differ (default: 7)
#   CONNECTIONS         images fetched at once (default: 16)
#   MAX_MISSING         per cent of images that the server may not have (default: 1%)
#   MAX_DROPPED         per cent of images or boxes that may be unusable (default: 5%)
#   EXIF                what the boxes were drawn on: upright or stored (default: auto, here stored)
#   VERIFY              decode: look at every pixel; structure: at each image's structure (default: structure)
#   TIMEOUT RETRIES RETRY_WAIT   patience, as in ./dataset-limited.sh
#   JOBS                processes; the bytes do not depend on it (default: 0, the cores)
#   TODUS_HOME          where dataset/ lies (default: the repository)
#
# Example: CATEGORIES="Vehicle_registration_plate" SPLITS=validation ./dataset-openimages.sh
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	todus_python -m todus.commands.dataset openimages "$@"
}

main "$@"
