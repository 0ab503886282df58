#!/usr/bin/env bats
# The scripts for the user's own images, as they are typed: folders with spaces, defaults, errors.

load helper

setup() {
	sandbox
	unset TEST GROUP REPLACE RENAME LABEL_MAP KEEP_EMPTY VAL SEED EXIF MAX_DROPPED DATA_DIR SPLITS OPENIMAGES_URL
	export JOBS=1
	mine="$BATS_TEST_TMPDIR/my pictures/Räccoon & co"
}

# draw KIND: draws ten images with boxes in $mine.
draw() {
	local python
	python="$(bash -c 'source "$0/lib/common.sh"; todus_find_python' "$REPO")"
	PYTHONPATH="$REPO" "$python" - "$1" "$mine" <<'PYTHON'
import json
import sys
from pathlib import Path

from tests.helpers import own_images as own

kind, root = sys.argv[1], Path(sys.argv[2])
own.voc_folder(root, 10)
if kind == "cloud":
    for path in root.glob("*.xml"):
        path.unlink()
    box = {"x": 0.1, "y": 0.2, "x2": 0.5, "y2": 0.75, "label": "cat"}
    boxes = {path.name: [box] for path in root.glob("*.jpg")}
    value = {"type": "localization", "labels": ["dog", "cat"], "annotations": boxes}
    own.write(root / "_annotations.json", json.dumps(value))
PYTHON
}

# next_command DATASET: the last line of the output is the next command.
next_command() {
	[ "${lines[-1]}" = "next: python -m model -m ssd_mobilenet_v1_coco_2018_01_28 -d $1" ]
}

@test "dataset-voc.sh takes a folder with spaces, from any directory, and prints the next command" {
	draw voc
	cd "$BATS_TEST_TMPDIR/my pictures"
	NAME=rac run "$REPO/dataset-voc.sh" "Räccoon & co"
	[ "$status" -eq 0 ]
	[[ "$output" == *"voc/rac: 10 images, 10 boxes, 2 classes"* ]] # progress may come before
	next_command voc/rac
	[ -s "$TODUS_HOME/dataset/voc/rac/dataset.json" ]
	[ -s "$TODUS_HOME/dataset/voc/rac/test_labels.csv" ]
	[ "$(ls -A "$TODUS_HOME/dataset/voc")" = rac ]
}

@test "the name defaults to the folder's, without characters unfit for a path" {
	draw voc
	run "$REPO/dataset-voc.sh" "$mine"
	[ "$status" -eq 0 ]
	next_command voc/Räccoon-co
}

@test "dataset-csv.sh reads the CSV files of dataset-voc.sh" {
	draw voc
	NAME=rac run "$REPO/dataset-voc.sh" "$mine"
	cd "$TODUS_HOME/dataset"
	NAME=back run "$REPO/dataset-csv.sh" voc/rac/t*_labels.csv "$mine"
	[ "$status" -eq 0 ]
	next_command csv/back
	cmp {voc/rac,csv/back}/train_labels.csv
}

@test "a dataset keeps its splits, and another folder replaces it only with REPLACE=1" {
	draw voc
	NAME=rac run "$REPO/dataset-voc.sh" "$mine"
	rm "$mine/i00.jpg" "$mine/i00.xml"
	NAME=rac run "$REPO/dataset-voc.sh" "$mine"
	[ "$status" -eq 0 ]
	[[ "$output" == *"images that changed splits: 0"* ]]
	cp -R "$mine" "$mine 2"
	rm "$mine 2/i01.jpg" "$mine 2/i01.xml"
	NAME=rac run "$REPO/dataset-voc.sh" "$mine 2"
	[ "$status" -eq 2 ]
	one_line
	[[ "$output" == *"is made from $mine, not from $mine 2; set another NAME, or REPLACE=1"* ]]
	REPLACE=1 NAME=rac run "$REPO/dataset-voc.sh" "$mine 2"
	[ "$status" -eq 0 ]
	[[ "$output" == *"images that changed splits: 0"* ]]
}

@test "a GROUP that is not a regular expression is one line, and exits with 2" {
	draw voc
	GROUP="(" run "$REPO/dataset-voc.sh" "$mine"
	[ "$status" -eq 2 ]
	[ "$output" = "dataset-voc: GROUP=(: give a regular expression such as (.+)_frame" ]
}

@test "dataset-cloud.sh reads DATA_DIR" {
	draw cloud
	DATA_DIR="$mine" NAME=job run "$REPO/dataset-cloud.sh"
	[ "$status" -eq 0 ]
	[[ "$output" == *"classes without a box: dog"* ]]
	next_command cloud/job
}

@test "dataset.sh says what a folder holds and makes the dataset" {
	draw voc
	NAME=rac run "$REPO/dataset.sh" "$mine"
	[ "$status" -eq 0 ]
	[ "${lines[0]}" = "$mine: Pascal VOC XML, 10 images, 2 classes, no val" ]
	next_command voc/rac
	run "$REPO/dataset-yolo.sh" "$mine"
	[ "$status" -eq 1 ]
	[[ "$output" == "dataset-yolo: no YOLO label file "*"it is Pascal VOC XML: run ./dataset-voc.sh "* ]]
	one_line
}

@test "dataset-merge.sh merges two datasets" {
	draw voc
	NAME=one run "$REPO/dataset-voc.sh" "$mine"
	draw cloud
	NAME=two run "$REPO/dataset-cloud.sh" "$mine"
	NAME=both run "$REPO/dataset-merge.sh" voc/one cloud/two
	[ "$status" -eq 0 ]
	next_command merged/both
}

@test "an unknown class of Open Images stops with the nearest names before any download" {
	CATEGORIES=Polr_bear OPENIMAGES_URL=http://127.0.0.1:9 run "$REPO/dataset-openimages.sh"
	[ "$status" -eq 2 ]
	local message='no class "Polr_bear" in Open Images; did you mean Polar bear'
	[[ "$output" == "dataset-openimages: $message"* ]]
	one_line
}

@test "usage errors are one line with the script's name, and exit with 2" {
	for script in voc csv cloud merge yolo coco-json cvat labelme; do
		run "$REPO/dataset-$script.sh"
		[ "$status" -eq 2 ]
		[[ "$output" == "dataset-$script: "* ]]
		one_line
	done
	VAL=2 run "$REPO/dataset-voc.sh" "$BATS_TEST_TMPDIR"
	[ "$output" = "dataset-voc: VAL=2: give a number between 0 and 1, such as 0.2" ]
}

@test "a missing folder is one line, exit code 1, and nothing is written" {
	run "$REPO/dataset-voc.sh" /nowhere
	[ "$status" -eq 1 ]
	one_line
	[ -z "$(ls -A "$TODUS_HOME")" ]
}

@test "docs/start.sh refuses a service without DATA_DIR or RESULT_DIR" {
	unset RESULT_DIR
	run "$REPO/docs/start.sh"
	[ "$status" -eq 1 ]
	[[ "$output" == "start: "*DATA_DIR* ]]
	one_line
}
