#!/usr/bin/env bats
# dataset-complete.sh and dataset-limited.sh as the user types them.

bats_require_minimum_version 1.5.0
load helper

setup_file() {
	export PYTHON="${PYTHON:-$(command -v python)}"
	"$PYTHON" -m demo.shapes "$BATS_FILE_TMPDIR/site" --train 30 --val 20
	"$PYTHON" -m demo.server "$BATS_FILE_TMPDIR/site" >"$BATS_FILE_TMPDIR/urls" 2>/dev/null 3>&- &
	echo $! >"$BATS_FILE_TMPDIR/pid"
	for _ in {1..100}; do
		[[ -s "$BATS_FILE_TMPDIR/urls" ]] && break
		sleep 0.1
	done
}

teardown_file() {
	kill "$(cat "$BATS_FILE_TMPDIR/pid")"
}

setup() {
	sandbox
	COCO_URL="$(sed -n 's/^.*COCO_URL=//p' "$BATS_FILE_TMPDIR/urls")"
	export COCO_URL RETRY_WAIT=0.1 CATEGORIES="circle, four point star"
	limited="$TODUS_HOME/dataset/mscoco/limited"
	cd "$BATS_TEST_TMPDIR"
}

@test "dataset-limited.sh makes a dataset from anywhere and prints the next command on stdout" {
	run --separate-stderr "$REPO/dataset-limited.sh"
	[ "$status" -eq 0 ]
	[ "$output" = "next: python -m model -m ssd_mobilenet_v1_coco_2018_01_28 -d limited" ]
	run ls "$limited"
	[ "${lines[*]}" = "dataset.json label_map.pbtxt $(echo {train,val}.record-00000-of-00001)" ]
	grep -q 'name: "four point star"' "$limited/label_map.pbtxt"
}

@test "a second run has nothing to do" {
	"$REPO/dataset-limited.sh" 2>/dev/null
	run --separate-stderr "$REPO/dataset-limited.sh"
	[ "$status" -eq 0 ]
	[ "$stderr" = "$limited is up to date" ]
}

@test "dataset-complete.sh keeps COCO's ids" {
	local label_map="$TODUS_HOME/dataset/mscoco/complete/label_map.pbtxt"
	run --separate-stderr "$REPO/dataset-complete.sh"
	[ "$status" -eq 0 ]
	[[ "$output" == *"-d complete" ]]
	[ "$(grep -c "  id: " "$label_map")" -eq 18 ]
	grep -q "id: 22" "$label_map"
}

@test "verify finds no fault in a new dataset, and names a cut shard" {
	"$REPO/dataset-limited.sh" 2>/dev/null
	run "$PYTHON" -m todus.commands.verify "$limited"
	[ "$status" -eq 0 ]
	[[ "$output" == *"no fault"* ]]
	truncate -s -5 "$limited/val.record-00000-of-00001"
	run "$PYTHON" -m todus.commands.verify "$limited"
	[ "$status" -eq 1 ]
	[[ "$output" == *"val.record-00000-of-00001, offset "*": the file ends inside a record"* ]]
}

@test "STATS_ONLY=1 prints a table on stdout and makes nothing" {
	STATS_ONLY=1 run --separate-stderr "$REPO/dataset-limited.sh"
	[ "$status" -eq 0 ]
	[[ "$output" == *"four point star"*"to fetch"* ]]
	[ ! -e "$limited" ]
}

@test "--help is the header, with every variable that the script reads" {
	for script in dataset-complete.sh dataset-limited.sh; do
		run "$REPO/$script" --help
		[ "$status" -eq 0 ]
		[ "${lines[0]}" = "Usage: [VARIABLE=value ...] ./$script" ]
		for name in NAME STATS_ONLY SPLITS MAX_IMAGES SEED SHARDS INCLUDE_MASKS VERIFY MAX_DROPPED \
			JOBS COCO_URL KEEP_RAW MAX_MISSING CONNECTIONS TIMEOUT RETRIES RETRY_WAIT TODUS_HOME; do
			grep -Eq "^  +$name " <<<"$output"
		done
	done
}

@test "an argument is refused" {
	run "$REPO/dataset-limited.sh" person
	[ "$status" -eq 2 ]
	[[ "$output" == "dataset-limited: does not take \"person\"; see "* ]]
}

@test "an unknown class stops with the nearest one" {
	CATEGORIES="circel" run --separate-stderr "$REPO/dataset-limited.sh"
	[ "$status" -eq 2 ]
	local message='no class "circel" in COCO; did you mean circle?'
	[ "${stderr_lines[-1]}" = "dataset-limited: $message" ]
	[ ! -e "$limited" ]
}

@test "a refused connection is one line that names what to do" {
	COCO_URL=http://127.0.0.1:9 run --separate-stderr "$REPO/dataset-limited.sh"
	[ "$status" -eq 1 ]
	local url="http://127.0.0.1:9/annotations/annotations_trainval2017.zip"
	[[ "${stderr_lines[-1]}" == "dataset-limited: $url: connection refused; check the network"* ]]
	[[ "$stderr" != *Traceback* ]]
	[ ! -e "$limited" ]
}

@test "a home that cannot be written is one line" {
	[ "$(id -u)" -ne 0 ] || skip "root may write everywhere"
	chmod 500 "$TODUS_HOME"
	run "$REPO/dataset-limited.sh"
	[ "$status" -eq 1 ]
	[[ "$output" == *"set TODUS_HOME"* ]]
}

@test "real COCO images become records" {
	local real="$REPO/../shared/real"
	[ -d "$real/mscoco" ] || skip "no real data beside the repository"
	mkdir -p "$TODUS_HOME/dataset/mscoco/raw-data"
	ln -s "$(cd "$real/mscoco" && pwd)"/* "$TODUS_HOME/dataset/mscoco/raw-data/"
	CATEGORIES="person boat horse" run "$REPO/dataset-limited.sh"
	[ "$status" -eq 0 ]
	run "$PYTHON" -m todus.commands.verify "$limited"
	[ "$status" -eq 0 ]
	[[ "$output" == *"train: 163 images, 776 boxes, 0 negatives"* ]]
	[[ "$output" == *"val: 105 images, 387 boxes, 0 negatives"* ]]
}
