#!/usr/bin/env bats
# python -m convert_uff on the command line.

load helper

setup() {
	sandbox
	PYTHON="${PYTHON:-$(command -v python)}"
}

@test "convert_uff --help lists its options" {
	run "$PYTHON" -m convert_uff --help
	[ "$status" -eq 0 ]
	[[ "$output" == *"--model"* && "$output" == *"--inference-graph"* && "$output" == *"--text"* ]]
}

@test "a model without a file in config/ gets the list of those with one, in one line" {
	run "$PYTHON" -m convert_uff -m ssd_mobilenet_v3_large_coco_2020_01_14
	[ "$status" -eq 2 ]
	one_line
	[[ "$output" == "convert_uff: "*"ssdlite_mobilenet_v2_coco_2018_05_09"* ]]
}

@test "a model that is not prepared gets the command that prepares it" {
	run "$PYTHON" -m convert_uff -m ssd_mobilenet_v2_coco_2018_03_29
	[ "$status" -eq 1 ]
	one_line
	[[ "$output" == *"python -m model -m ssd_mobilenet_v2_coco_2018_03_29"* ]]
	[ -z "$(ls -A "$TODUS_HOME")" ]
}

@test "a model that is not exported gets the command that exports it, and nothing is written" {
	fake_model ssd_mobilenet_v2_coco_2018_03_29
	run "$PYTHON" -m convert_uff -m ssd_mobilenet_v2_coco_2018_03_29 -i
	[ "$status" -eq 1 ]
	one_line
	[[ "$output" == *"./export.sh"* ]]
	[ "$(ls -A "$TODUS_HOME/model/ssd_mobilenet_v2_coco_2018_03_29")" = pretrained ]
}
