#!/usr/bin/env bats
# make slice: what the user types to limit a finished file.

load helper

@test "slice names what is missing and prints its header as help" {
	run "$REPO/lib/slice.sh" --help
	[ "$status" -eq 0 ]
	[[ "$output" == *"make slice FILE=detect.tflite"* ]]
	FILE=detect.tflite CATEGORIES='' run "$REPO/lib/slice.sh"
	[ "$status" -eq 2 ]
	[[ "$output" == *'needs CATEGORIES="..."'* ]]
}

@test "python -m slice without TensorFlow names a file that is not there in one line" {
	cd "$REPO"
	run python -m slice none.tflite person
	[ "$status" -eq 1 ]
	[ "${#lines[@]}" -eq 1 ]
	[[ "$output" == "slice: none.tflite cannot be limited: there is no such file" ]]
}
