#!/usr/bin/env bash
# Usage: demo/run.sh [--stage N]
#
# Runs every step on a miniature COCO of drawn shapes, with the usual commands:
# serves it on loopback, limits the dataset and a zoo model to two classes,
# trains, exports, converts and compares. All output is in demo/out/.
# --stage N starts at stage N; the stages before it must have run.
#
#   CATEGORIES       the classes (default: circle, four point star)
#   NUM_TRAIN_STEPS  training steps (default: 60)
#   DEMO_HOME        the folder for all output (default: demo/out)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

export CATEGORIES="${CATEGORIES:-circle, four point star}"
export NUM_TRAIN_STEPS="${NUM_TRAIN_STEPS:-60}"
export BATCH_SIZE=8 LOG_STEPS=20
export TODUS_HOME="${DEMO_HOME:-$here/demo/out}"
unset NAME COCO_URL ZOO_URL MODEL_DIR CHECKPOINT_PREFIX SCORE_THRESHOLD FORMAT

model=ssd_mobilenet_v1_shapes
served="$TODUS_HOME/served"
results="$TODUS_HOME/results"
stage=0
server=""

title() { todus_say "" "== $* =="; }
python() { (todus_python "$@"); }

# ap_line: keeps the AP of all classes from the output of python -m eval.
ap_line() { sed -n '/Precision.*IoU=0.50:0.95 | area=   all/p'; }

stop_server() { [[ -z "$server" ]] || kill "$server" 2>/dev/null || true; }

start_server() {
	local urls="$TODUS_HOME/server.urls"
	: >"$urls"
	(todus_python -m demo.server "$served" 0 >"$urls" 2>"$TODUS_HOME/server.log") &
	server=$!
	trap stop_server EXIT
	for _ in {1..100}; do
		grep -q '^ZOO_URL=' "$urls" && break
		sleep 0.1
	done
	COCO_URL="$(sed -n 's/^COCO_URL=//p' "$urls")"
	ZOO_URL="$(sed -n 's/^ZOO_URL=//p' "$urls")"
	[[ -n "$ZOO_URL" ]] || todus_die "the loopback server did not start; see $TODUS_HOME/server.log"
	export COCO_URL ZOO_URL
}

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables demo
	if [[ "${1:-}" == --stage && "${2:-}" =~ ^[0-9]+$ ]]; then
		stage="$2"
	elif [[ $# -gt 0 ]]; then
		todus_usage_error "does not take \"$*\""
	fi
	local began=$SECONDS
	mkdir -p "$results"
	export MODEL_DIR="$TODUS_HOME/model/$model"

	if ((stage <= 1)); then
		title "1. draw a miniature COCO; serve it and a miniature zoo"
		rm -rf "$TODUS_HOME/dataset" "$TODUS_HOME/model" "$results" && mkdir -p "$results"
		python -m demo.shapes "$served" --train 300 --val 240 | tail -n 1
		mkdir -p "$served/models/object_detection"
		cp "$here"/demo/zoo/*.tar.gz "$served/models/object_detection/"
	fi
	start_server

	if ((stage <= 2)); then
		title "2. download and filter: $CATEGORIES"
		"$here/dataset-limited.sh"
	fi
	if ((stage <= 3)); then
		title "3. fetch the zoo model and limit it"
		python -m model -m "$model" -d limited
	fi
	if ((stage <= 4)); then
		title "4. evaluate the zoo model and its slice, before any training"
		python -m eval -m "$model" --json "$results/zoo.json" | ap_line
		CHECKPOINT_PREFIX=pretrained "$here/eval.sh" --json "$results/limited.json" | ap_line
	fi
	if ((stage <= 5)); then
		title "5. train and evaluate"
		"$here/train.sh"
		"$here/eval.sh" --json "$results/trained.json" | ap_line
	fi
	if ((stage <= 6)); then
		title "6. export, convert and evaluate"
		"$here/export.sh"
		"$here/export-tflite.sh"
		"$here/convert-tflite.sh"
		python -m eval -m "$model" -i --json "$results/frozen.json" | ap_line
		python -m eval -m "$model" --format tflite --json "$results/tflite.json" | ap_line
	fi
	title "7. compare"
	python -m demo.summary $((SECONDS - began))
}

main "$@"
