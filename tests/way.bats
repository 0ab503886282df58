#!/usr/bin/env bats
# Runs the script of `make demo` once, then tests its result and further commands on it.

load helper

MODEL=ssd_mobilenet_v1_shapes
QUANTIZED=ssd_mobilenet_v1_quantized_shapes

setup_file() {
	export DEMO_HOME="$BATS_FILE_TMPDIR/a home"
	export NUM_TRAIN_STEPS=40
	local out="$BATS_FILE_TMPDIR/demo"
	"$REPO/demo/run.sh" >"$out.out" 2>"$out.err" || { cat "$out.err" >&2 && return 1; }
}

setup() {
	unset NUM_TRAIN_STEPS CHECKPOINT_PREFIX CATEGORIES NAME ZOO_URL COCO_URL
	export TODUS_HOME="$DEMO_HOME" MODEL_DIR="$DEMO_HOME/model/$MODEL"
	PYTHON="$(bash -c 'source "$0/lib/common.sh"; todus_find_python' "$REPO")"
	export PYTHON
	cd "$REPO"
}

# summary EXPRESSION: a Python expression over the keys of summary.json is true.
summary() {
	"$PYTHON" -c 'import json, sys
summary = json.load(open(sys.argv[1]))
assert eval(sys.argv[2], summary), summary' "$DEMO_HOME/summary.json" "$1"
}

@test "the table has the zoo model, the slice, the trained, the exported and the converted model" {
	for words in 'zoo model, 18 classes' 'limited to 2, before training' 'trained a little' \
		'exported frozen graph' 'TFLite file'; do
		grep -q "^$words" "$BATS_FILE_TMPDIR/demo.out"
	done
}

@test "before any training the slice scores as the zoo model on the chosen classes" {
	summary 'abs(ap_limited - ap_zoo) <= 0.005'
}

@test "the miniature zoo model detects the shapes" { summary 'ap_zoo > 0.3'; }

@test "training starts from the precision of the slice" { summary 'ap_trained > 0.8 * ap_zoo'; }

@test "the exported graph and the TFLite file score as the checkpoint" {
	summary 'abs(ap_frozen - ap_trained) <= 0.002 and abs(ap_tflite - ap_trained) <= 0.005'
}

@test "the limited graph is smaller than the zoo's, and the TFLite file than the graph" {
	summary 'bytes_limited < bytes_zoo and bytes_tflite < bytes_limited'
}

@test "the picture is a PNG" {
	[ "$(head -c 4 "$DEMO_HOME/detections.png" | tail -c 3)" = PNG ]
}

@test "the dataset of the same classes in another order is not built again" {
	export CATEGORIES="four_point_star circle" COCO_URL=http://127.0.0.1:9
	cp "$DEMO_HOME/dataset/mscoco/limited/dataset.json" "$BATS_TEST_TMPDIR/before.json"
	./dataset-limited.sh
	cmp "$DEMO_HOME/dataset/mscoco/limited/dataset.json" "$BATS_TEST_TMPDIR/before.json"
}

@test "python -m detect draws a PNG and prints what it found" {
	photos=("$DEMO_HOME"/served/val2017/*.jpg)
	run "$PYTHON" -m detect -m "$MODEL" --threshold 0.01 "${photos[0]}"
	[ "$status" -eq 0 ]
	[[ "$output" == *$'\tcircle\t'* || "$output" == *$'\tfour point star\t'* ]]
	find "$MODEL_DIR/detections" -name '*.png' | grep -q .
}

@test "python -m detect names a file that is not an image" {
	echo text >"$BATS_TEST_TMPDIR/photo.jpg"
	run "$PYTHON" -m detect -m "$MODEL" "$BATS_TEST_TMPDIR/photo.jpg"
	[ "$status" -eq 1 ]
	[[ "$output" == "detect: "*"photo.jpg"* ]]
	one_line
}

@test "an unknown model is refused with the nearest name" {
	serve "$DEMO_HOME/served"
	run "$PYTHON" -m model -m ssd_mobilenet_v1_coco -d limited
	kill "$SERVER"
	[ "$status" -eq 1 ]
	[[ "$output" == *"did you mean ssd_mobilenet_v1_coco_2018_01_28?"* ]]
	one_line
	[ ! -e "$DEMO_HOME/model/ssd_mobilenet_v1_coco" ]
}

@test "a truncated archive is refused as damaged" {
	head -c 500000 "$REPO/demo/zoo/$MODEL.tar.gz" >"$BATS_TEST_TMPDIR/cut.tar.gz"
	run "$PYTHON" -m model -m cut -d limited --archive "$BATS_TEST_TMPDIR/cut.tar.gz"
	[ "$status" -eq 1 ]
	[[ "$output" == "model: $BATS_TEST_TMPDIR/cut.tar.gz is damaged"* ]]
	one_line
	[ ! -e "$DEMO_HOME/model/cut" ]
}

@test "a missing dataset is refused with the command that makes it" {
	run "$PYTHON" -m model -m "$MODEL" -d animals
	[ "$status" -eq 1 ]
	[[ "$output" == *"NAME=animals ./dataset-limited.sh"* ]]
	one_line
}

@test "without a network a download names the address and makes no model" {
	export ZOO_URL=http://127.0.0.1:9/zoo RETRIES=1 RETRY_WAIT=0
	run "$PYTHON" -m model -m ssd_mobilenet_v1_coco_2018_01_28 -d limited
	[ "$status" -eq 1 ]
	[[ "${lines[-1]}" == model:*"127.0.0.1:9"*"check the network"* ]]
	[ ! -e "$DEMO_HOME/model/ssd_mobilenet_v1_coco_2018_01_28" ]
}

@test "a quantization-aware model becomes a uint8 TFLite file" {
	"$PYTHON" -m model -m "$QUANTIZED" -d limited -q --archive "demo/zoo/$QUANTIZED.tar.gz"
	export MODEL_DIR="$DEMO_HOME/model/$QUANTIZED" CHECKPOINT_PREFIX=pretrained
	./export-tflite.sh
	./convert-tflite.sh
	grep -q '"format": "uint8"' "$MODEL_DIR/$QUANTIZED.tflite.json"
}
