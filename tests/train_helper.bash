# shellcheck shell=bash
# What the trainings in bats share: the miniature, prepared once a file, and a wait for what happens in the background.

# prepare_miniature HOME: a TODUS_HOME with a drawn dataset of two classes and the miniature prepared for it.
prepare_miniature() {
	local served="$BATS_FILE_TMPDIR/served" server
	PYTHON="$(bash -c 'source "$0/lib/common.sh"; todus_find_python' "$REPO")"
	export PYTHON TODUS_HOME="$1" CATEGORIES="circle, four point star"
	cd "$REPO" || return 1
	"$PYTHON" -m demo.shapes "$served" --train 40 --val 24 >/dev/null
	"$PYTHON" -m demo.server "$served" 0 >"$BATS_FILE_TMPDIR/urls" 2>/dev/null 3>&- &
	server=$!
	wait_for grep -q '^ZOO_URL=' "$BATS_FILE_TMPDIR/urls"
	COCO_URL="$(sed -n 's/^COCO_URL=//p' "$BATS_FILE_TMPDIR/urls")" ./dataset-limited.sh
	kill "$server"
	"$PYTHON" -m model -m ssd_mobilenet_v1_shapes -d limited --archive demo/zoo/ssd_mobilenet_v1_shapes.tar.gz
}

# wait_for COMMAND...: until it succeeds, at most ten minutes.
wait_for() {
	local tries
	for ((tries = 0; tries < 3000; tries++)); do
		"$@" && return
		sleep 0.2
	done
	echo "waited in vain for: $*" >&2
	return 1
}

# model_copy: MODEL_DIR becomes a fresh copy of the prepared miniature for this test.
model_copy() {
	mkdir -p "$BATS_TEST_TMPDIR/model"
	export MODEL_DIR="$BATS_TEST_TMPDIR/model/ssd_mobilenet_v1_shapes"
	cp -r "$PREPARED_HOME/model/ssd_mobilenet_v1_shapes" "$MODEL_DIR"
}

# saved_step: of the newest checkpoint that TensorFlow would go on from.
saved_step() { sed -n 's/^model_checkpoint_path: "model.ckpt-\([0-9]*\)"$/\1/p' "$MODEL_DIR/training/checkpoint"; }

saved_at_least() { [[ -e "$MODEL_DIR/training/checkpoint" && "$(saved_step)" -ge "$1" ]]; }
