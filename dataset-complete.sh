#!/usr/bin/env bash
# Usage: [VARIABLE=value ...] ./dataset-complete.sh
#
# Makes dataset/mscoco/complete: all of COCO 2017, its 80 classes with COCO's ids (1 to 90 with
# gaps). Downloads 19 GB and writes as much again. It can be stopped at any time; the next run
# resumes. Does nothing when nothing has changed.
#
#   NAME           dataset/mscoco/NAME in place of complete
#   STATS_ONLY     1: print counts a class and the bytes to download; fetch no image (default: 0)
#
# Which images
#   SPLITS         any of train val testdev; testdev: 6 GB, no boxes (default: train val)
#   MAX_IMAGES     at most so many images with boxes a split, in proportion over the classes, or
#                  "train=2000 val=500" (default: 0, all)
#   NEGATIVES      a folder of pictures that hold none of the classes, as a camera's false alarms;
#                  a fifth of them go to val (default: none)
#   BALANCE        1: repeat train images of rare classes, as LVIS does; a share of the images, such
#                  as 0.1: of classes in fewer (default: 0)
#   SEED           draws images and their order (default: 0)
#
# Records
#   SHARDS         files a split (default: 0, as many as make about 256 MB each)
#   INCLUDE_MASKS  1: also write image/object/mask, which SSD does not use (default: 0)
#   VERIFY         decode: check every pixel; structure: the file structure (default: structure)
#   MAX_DROPPED    per cent of images or boxes that may be left out as damaged (default: 1%)
#   JOBS           processes; the bytes do not depend on it (default: 0, the cores)
#   RUNNER         memory, processes or --runner=...: Apache Beam writes the records;
#                  docs/scale.md (default: this command's own processes)
#
# Download
#   COCO_URL       the server or a mirror of it (default: http://images.cocodataset.org)
#   KEEP_RAW       0: remove images from raw-data once they are in records (default: 1)
#   MAX_MISSING    per cent of images that the server may not have (default: 0.1%)
#   CONNECTIONS    images fetched at once where they come one by one (default: 16)
#   TIMEOUT        seconds without a byte before a connection is closed (default: 60)
#   RETRIES        tries without a new byte before the download fails (default: 10)
#   RETRY_WAIT     seconds before the first retry, doubling (default: 1)
#
#   TODUS_HOME     where dataset/ lies (default: the repository)
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	todus_python -m todus.commands.dataset coco complete
}

main "$@"
