# shellcheck shell=bash
# Functions for bats files with trainings.

# prepare_miniature HOME: makes a TODUS_HOME with a drawn dataset and a miniature model for it.
prepare_miniature() {
	local served="$BATS_FILE_TMPDIR/served" name=ssd_mobilenet_v1_shapes
	PYTHON="$(bash -c 'source "$0/lib/common.sh"; todus_find_python' "$REPO")"
	export PYTHON TODUS_HOME="$1" CATEGORIES="circle, four point star"
	cd "$REPO" || return 1
	"$PYTHON" -m demo.shapes "$served" --train 40 --val 24 >/dev/null
	serve "$served"
	./dataset-limited.sh
	kill "$SERVER"
	"$PYTHON" -m model -m "$name" -d limited --archive "demo/zoo/$name.tar.gz"
}

# model_copy: sets MODEL_DIR to a new copy of the prepared miniature model.
model_copy() {
	mkdir -p "$BATS_TEST_TMPDIR/model"
	export MODEL_DIR="$BATS_TEST_TMPDIR/model/ssd_mobilenet_v1_shapes"
	cp -r "$PREPARED_HOME/model/ssd_mobilenet_v1_shapes" "$MODEL_DIR"
}

# saved_step: prints the step of the newest checkpoint in TensorFlow's list.
saved_step() {
	sed -n 's/^model_checkpoint_path: "model.ckpt-\([0-9]*\)"$/\1/p' "$MODEL_DIR/training/checkpoint"
}

saved_at_least() { [[ -e "$MODEL_DIR/training/checkpoint" && "$(saved_step)" -ge "$1" ]]; }

# scored_steps: prints the first column of metrics.csv, with its heading.
scored_steps() { cut -d, -f1 "$MODEL_DIR/training/metrics.csv"; }

# free_ports N [PREFIX]: prints N free ports, each on a line after PREFIX.
free_ports() {
	"$PYTHON" - "$@" <<'END'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for each in sockets:
    each.bind(("127.0.0.1", 0))
    print("".join(sys.argv[2:]) + str(each.getsockname()[1]))
END
}
