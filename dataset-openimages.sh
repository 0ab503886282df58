#!/usr/bin/env bash
# Usage: CATEGORIES="Polar_bear Penguin" [VARIABLE=value ...] ./dataset-openimages.sh
#        [VARIABLE=value ...] ./dataset-openimages.sh DIR
#
# Makes dataset/openimages/NAME from classes of Open Images (601 have boxes); downloads only the
# images of those classes. It can be stopped at any time; the next run resumes. DIR is a tree that
# OIDv4_ToolKit has downloaded (its OID folder). The box file of train has 2.3 GB, those of
# validation and test 25 and 77 MB. Does nothing when nothing has changed.
#
# Which classes
#   CATEGORIES     Polar_bear, "Polar bear" or /m/0633h, with spaces or commas, or @FILE, one a
#                  line; optional with DIR
#   NAME           the dataset's name (default: the first classes; with DIR, DIR's)
#   REPLACE        1: replace a dataset of this name that was made from another folder (default: 0)
#   EXPAND         1: also boxes of subclasses (a Car is a Vehicle); classes: subclasses are classes
#                  of their own (default: 0)
#   EXCLUDE        leave out boxes with these flags: occluded truncated group depiction inside
#                  (default: none; a group becomes a crowd)
#   RENAME         other names for classes: "Vehicle registration plate=plate" (default: none)
#   LABEL_MAP      a label map (.pbtxt) with your own ids (default: ids 1..N in Open Images' order)
#
# Which images
#   SPLITS         any of train,validation,test (default: train,validation); test without
#                  validation becomes val; a single split is divided by VAL and TEST
#   MAX_IMAGES     at most so many images a split, in proportion over the classes (default: 0, all)
#   VAL            share of the images for validation where SPLITS has one split (default: 0.2)
#   TEST           share of the images for a third split, test, there (default: 0)
#   NEGATIVES      a folder of pictures that hold none of the classes, as a camera's false alarms;
#                  VAL of them go to val (default: none)
#   GROUP          a regular expression; files whose first group in it is equal go to one split
#                  (default: (.+)\.rf\., copies that Roboflow augmented)
#   SEED           draws images, split and order (default: 0)
#   STATS_ONLY     1: print counts a class and the bytes to download; fetch no image (default: 0)
#
# Download and records
#   OPENIMAGES_URL      a mirror or folder with v6/oidv6-train-annotations-bbox.csv ... and
#                       train/ID.jpg ... (default: the public servers)
#   OPENIMAGES_VERSION  4, 5, 6 or 7; the box files differ (default: 7)
#   CONNECTIONS         images fetched at once (default: 16)
#   MAX_MISSING         per cent of images that the server may not have (default: 1%)
#   BALANCE        1: repeat train images of rare classes, as LVIS does; a share of the images, such
#                  as 0.1: of classes in fewer (default: 0)
#   MAX_SIDE       shrinks images whose longer side has more pixels, and their boxes (default: none)
#   MAX_DROPPED         per cent of images or boxes that may be unusable (default: 5%)
#   EXIF                what the boxes were drawn on: upright or stored (default: auto, here stored)
#   VERIFY              decode: check each pixel; structure: the file structure (default: structure)
#   TIMEOUT RETRIES RETRY_WAIT   patience, as in ./dataset-limited.sh
#   JOBS                processes; the bytes do not depend on it (default: 0, the cores)
#   RUNNER              memory, processes or --runner=...: Apache Beam writes the records;
#                       docs/scale.md (default: this command's own processes)
#   TODUS_HOME          where dataset/ lies (default: the repository)
#
# Example: CATEGORIES="Vehicle_registration_plate" SPLITS=validation ./dataset-openimages.sh
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_python -m todus.commands.dataset openimages "$@"
}

main "$@"
