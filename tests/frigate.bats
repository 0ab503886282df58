#!/usr/bin/env bats
# make frigate: what the user types to get a folder for Frigate.

load helper

setup() { sandbox; }

@test "make frigate has a default model of its own and takes the one that is given" {
	unset MODEL FILE AS
	run env TODUS_HOME="$TODUS_HOME" make -s -C "$REPO" frigate
	[ "$status" -eq 2 ]
	[[ "$output" == *"no model at $TODUS_HOME/model/ssdlite_mobiledet_edgetpu_320x320_coco_2020_05_19"* ]]
	run env TODUS_HOME="$TODUS_HOME" make -s -C "$REPO" frigate MODEL=other
	[[ "$output" == *"no model at $TODUS_HOME/model/other: "* ]]
	run "$REPO/lib/frigate.sh" --help
	[ "$status" -eq 0 ]
	[[ "$output" == *"make frigate FILE=detect.tflite"* ]]
}
