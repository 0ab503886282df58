#!/usr/bin/env bash
# Usage: [VARIABLE=value ...] ./dataset-limited.sh
#
# Makes dataset/mscoco/limited: the COCO images of the chosen classes, with only those classes'
# boxes and ids 1..N in COCO's order. Downloads only those images. It can be stopped at any time;
# the next run resumes. Does nothing when nothing has changed.
#
#   CATEGORIES     classes: "bear horse giraffe", "traffic light, dog", @FILE, one a line, or all
#                  (default: person bicycle car motorcycle airplane bus train truck boat)
#   NAME           dataset/mscoco/NAME in place of limited
#   STATS_ONLY     1: print counts a class and the bytes to download; fetch no image (default: 0)
#
# Which images
#   SPLITS         any of train val (default: train val)
#   MAX_IMAGES     at most so many images with boxes a split, in proportion over the classes, or
#                  "train=2000 val=500" (default: 0, all)
#   NEGATIVES      images without a chosen class: a number or all, for val; for both splits:
#                  "train=500 val=all" (default: 0); all evaluates as COCO does, on every val image.
#                  Or a folder of your own pictures without these classes; a fifth go to val
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
#   CONNECTIONS    images fetched at once (default: 16)
#   TIMEOUT        seconds without a byte before a connection is closed (default: 60)
#   RETRIES        tries without a new byte before the download fails (default: 10)
#   RETRY_WAIT     seconds before the first retry, doubling (default: 1)
#
#   TODUS_HOME     where dataset/ lies (default: the repository)
#
# Example: NAME=animals CATEGORIES="bear horse giraffe" ./dataset-limited.sh
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	todus_python -m todus.commands.dataset coco limited
}

main "$@"
