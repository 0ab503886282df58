#!/usr/bin/env bats
# The whole way as a person types it: `make demo`'s script once, on a loopback server, then everything around it on what it made.

load helper

setup_file() {
	export DEMO_HOME="$BATS_FILE_TMPDIR/a home"
	export NUM_TRAIN_STEPS=40
	bash "$BATS_TEST_DIRNAME/../demo/run.sh" >"$BATS_FILE_TMPDIR/demo.out" 2>"$BATS_FILE_TMPDIR/demo.err" || {
		cat "$BATS_FILE_TMPDIR/demo.err" >&2
		return 1
	}
}

setup() {
	unset NUM_TRAIN_STEPS CHECKPOINT_PREFIX CATEGORIES NAME ZOO_URL COCO_URL
	export TODUS_HOME="$DEMO_HOME" MODEL_DIR="$DEMO_HOME/model/ssd_mobilenet_v1_shapes"
	PYTHON="$(bash -c 'source "$0/lib/common.sh"; todus_find_python' "$REPO")"
	export PYTHON
	cd "$REPO"
}

# summary EXPRESSION: a Python expression over demo/out/summary.json holds.
summary() { "$PYTHON" -c 'import json, sys; s = json.load(open(sys.argv[1])); assert eval(sys.argv[2], {}, s), s' "$DEMO_HOME/summary.json" "$1"; }

@test "the table has the zoo model, the slice, the trained, the exported and the converted model" {
	for words in 'zoo model, 18 classes' 'limited to 2, before training' 'trained a little' 'exported frozen graph' 'TFLite file'; do
		grep -q "^$words" "$BATS_FILE_TMPDIR/demo.out"
	done
}

@test "the slice scores as the zoo model on the chosen classes, before any training" { summary 'abs(ap_limited - ap_zoo) <= 0.005'; }

@test "the miniature zoo model really detects" { summary 'ap_zoo > 0.3'; }

@test "training from the slice does not start from nothing" { summary 'ap_trained > 0.8 * ap_zoo'; }

@test "the exported graph and the TFLite file score as the checkpoint" { summary 'abs(ap_frozen - ap_trained) <= 0.002 and abs(ap_tflite - ap_trained) <= 0.005'; }

@test "two classes are smaller than eighteen" { summary 'bytes_limited < bytes_zoo and bytes_tflite < bytes_limited'; }

@test "the picture is a PNG" { [ "$(head -c 4 "$DEMO_HOME/detections.png" | tail -c 3)" = PNG ]; }

@test "the directories are as the README shows them" {
	for path in dataset/mscoco/raw-data dataset/mscoco/limited/dataset.json dataset/mscoco/limited/label_map.pbtxt \
		model/ssd_mobilenet_v1_shapes/pretrained/{zoo-pipeline.config,pipeline.config,limited/model.ckpt.index,frozen_inference_graph.pb} \
		model/ssd_mobilenet_v1_shapes/training/{model.ckpt-40.index,run.json} \
		model/ssd_mobilenet_v1_shapes/inference-graph/{frozen_inference_graph.pb,saved_model/saved_model.pb,labels.txt,tflite_graph.pb} \
		model/ssd_mobilenet_v1_shapes/ssd_mobilenet_v1_shapes.{tflite,tflite.json}; do
		[ -e "$DEMO_HOME/$path" ] || { echo "missing: $path" && false; }
	done
	[ "$(cat "$MODEL_DIR/inference-graph/labels.txt")" = $'circle\nfour point star' ]
}

@test "the dataset again, the classes typed in another order: there is nothing to do" {
	export CATEGORIES="four_point_star circle" COCO_URL=http://127.0.0.1:9
	before="$(cat "$DEMO_HOME/dataset/mscoco/limited/dataset.json")"
	run ./dataset-limited.sh
	[ "$status" -eq 0 ]
	[ "$(cat "$DEMO_HOME/dataset/mscoco/limited/dataset.json")" = "$before" ]
}

@test "training again goes on from where it stopped; at the end there is nothing to do" {
	before="$(stat -c %Y "$MODEL_DIR/training/model.ckpt-40.index")"
	NUM_TRAIN_STEPS=40 run ./train.sh
	[ "$status" -eq 0 ]
	[[ "$output" == *"at step 40 of 40"*"nothing to do"* ]]
	[ "$(stat -c %Y "$MODEL_DIR/training/model.ckpt-40.index")" = "$before" ]
}

@test "python -m detect draws a PNG and prints what it found" {
	photo="$DEMO_HOME/served/val2017/$(basename "$(find "$DEMO_HOME/served/val2017" -name '*.jpg' | sort | head -n 1)")"
	run "$PYTHON" -m detect -m ssd_mobilenet_v1_shapes --threshold 0.01 "$photo"
	[ "$status" -eq 0 ]
	[[ "$output" == *$'\tcircle\t'* || "$output" == *$'\tfour point star\t'* ]]
	find "$MODEL_DIR/detections" -name '*.png' | grep -q .
}

@test "an image that is none is named" {
	echo text >"$BATS_TEST_TMPDIR/photo.jpg"
	run "$PYTHON" -m detect -m ssd_mobilenet_v1_shapes "$BATS_TEST_TMPDIR/photo.jpg"
	[ "$status" -eq 1 ]
	[[ "$output" == "detect: "*"photo.jpg"* ]]
	one_line
}

@test "an unknown class" {
	CATEGORIES="circle, triangel" run ./dataset-limited.sh
	[ "$status" -ne 0 ]
	[[ "$output" == *'no class "triangel"'*"triangle"* ]]
	one_line
}

@test "a model that the zoo has not" {
	(cd "$DEMO_HOME/served" && exec "$PYTHON" -m demo.server . 0 >"$BATS_TEST_TMPDIR/urls" 2>/dev/null) 3>&- &
	server=$!
	for _ in $(seq 100); do grep -q ZOO_URL "$BATS_TEST_TMPDIR/urls" 2>/dev/null && break || sleep 0.1; done
	ZOO_URL="$(sed -n 's/^ZOO_URL=//p' "$BATS_TEST_TMPDIR/urls")" run "$PYTHON" -m model -m ssd_mobilenet_v1_coco -d limited
	kill "$server"
	[ "$status" -eq 1 ]
	[[ "$output" == *"did you mean ssd_mobilenet_v1_coco_2018_01_28?"* ]]
	one_line
	[ ! -e "$DEMO_HOME/model/ssd_mobilenet_v1_coco" ]
}

@test "an archive cut short" {
	head -c 500000 "$REPO/demo/zoo/ssd_mobilenet_v1_shapes.tar.gz" >"$BATS_TEST_TMPDIR/cut.tar.gz"
	run "$PYTHON" -m model -m cut -d limited --archive "$BATS_TEST_TMPDIR/cut.tar.gz"
	[ "$status" -eq 1 ]
	[[ "$output" == "model: $BATS_TEST_TMPDIR/cut.tar.gz is damaged"* ]]
	one_line
	[ ! -e "$DEMO_HOME/model/cut" ]
}

@test "a dataset that is not there" {
	run "$PYTHON" -m model -m ssd_mobilenet_v1_shapes -d animals
	[ "$status" -eq 1 ]
	[[ "$output" == *"NAME=animals ./dataset-limited.sh"* ]]
	one_line
}

@test "no network" {
	ZOO_URL=http://127.0.0.1:9/zoo RETRIES=1 RETRY_WAIT=0 run "$PYTHON" -m model -m ssd_mobilenet_v1_coco_2018_01_28 -d limited
	[ "$status" -eq 1 ]
	[[ "${lines[-1]}" == model:*"127.0.0.1:9"*"check the network"* ]]
	[ ! -e "$DEMO_HOME/model/ssd_mobilenet_v1_coco_2018_01_28" ]
}

@test "the seeds' way into the background" {
	export NUM_TRAIN_STEPS=40
	export MODEL_DIR && ./train.sh 1>"$BATS_TEST_TMPDIR/output1.log" 2>"$BATS_TEST_TMPDIR/output2.log" 3>&- &
	wait $!
	grep -q 'nothing to do' "$BATS_TEST_TMPDIR/output2.log"
}

@test "a quantization-aware model becomes a uint8 TFLite file" {
	run "$PYTHON" -m model -m ssd_mobilenet_v1_quantized_shapes -d limited -q --archive demo/zoo/ssd_mobilenet_v1_quantized_shapes.tar.gz
	[ "$status" -eq 0 ]
	export MODEL_DIR="$DEMO_HOME/model/ssd_mobilenet_v1_quantized_shapes" CHECKPOINT_PREFIX=pretrained
	./export-tflite.sh && ./convert-tflite.sh
	grep -q '"format": "uint8"' "$MODEL_DIR/ssd_mobilenet_v1_quantized_shapes.tflite.json"
	"$PYTHON" -m eval -m ssd_mobilenet_v1_quantized_shapes --json "$BATS_TEST_TMPDIR/zoo.json"
	"$PYTHON" -m eval -m ssd_mobilenet_v1_quantized_shapes --format tflite --json "$BATS_TEST_TMPDIR/uint8.json"
	"$PYTHON" -c 'import json, sys; zoo, uint8 = (json.load(open(path))["ap"] for path in sys.argv[1:]); assert abs(zoo - uint8) < 0.03, (zoo, uint8)' \
		"$BATS_TEST_TMPDIR/zoo.json" "$BATS_TEST_TMPDIR/uint8.json"
}
