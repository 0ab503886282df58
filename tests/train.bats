#!/usr/bin/env bats
# Trainings from the command line: in the background, stopped, killed, resumed, evaluated.

load helper
load train_helper

setup_file() {
	export PREPARED_HOME="$BATS_FILE_TMPDIR/a home"
	REPO="$(cd "$BATS_TEST_DIRNAME/.." && pwd)"
	prepare_miniature "$PREPARED_HOME" >"$BATS_FILE_TMPDIR/prepared" 2>&1 || {
		cat "$BATS_FILE_TMPDIR/prepared" >&2
		return 1
	}
}

setup() {
	unset CATEGORIES COCO_URL ZOO_URL
	PYTHON="$(bash -c 'source "$0/lib/common.sh"; todus_find_python' "$REPO")"
	export PYTHON TODUS_HOME="$PREPARED_HOME" BATCH_SIZE=2 EVAL_STEPS=0 SAVE_STEPS=5 LOG_STEPS=5
	cd "$REPO"
	model_copy
}

teardown() {
	local file="$MODEL_DIR/training/pid"
	[[ ! -e "$file" ]] || kill -9 "$(cat "$file")" 2>/dev/null || true
}

@test "a background training refuses a second one, stops, is killed, resumes and ends" {
	export NUM_TRAIN_STEPS=100000 BACKGROUND=1
	run ./train.sh
	[ "$status" -eq 0 ]
	[[ "$output" == *"trains in the background, PID "*"--log"*"--status"*"--stop"* ]]
	unset BACKGROUND
	local pid
	pid="$(cat "$MODEL_DIR/training/pid")"
	grep -q todus.commands.train "/proc/$pid/cmdline"

	run ./train.sh
	[ "$status" -eq 1 ]
	[[ "$output" == *"in use by PID $pid on $(hostname)"* ]]
	one_line

	wait_for saved_at_least 5
	wait_for grep -q 'steps/s' "$MODEL_DIR/training/train.log"
	run ./train.sh --status
	[[ "${lines[0]}" == "running   ssd_mobilenet_v1_shapes, PID $pid on "* ]]
	[[ "$output" == *" of 100000   loss "*"learning rate"*"steps/s"* ]]
	[[ "$output" == *"saved     model.ckpt-"*"memory "* ]]

	local before="$SECONDS"
	run ./train.sh --stop
	[ "$status" -eq 0 ]
	[ $((SECONDS - before)) -le 30 ]
	[[ "$output" == *"train: stopped at step "* ]]
	! kill -0 "$pid" 2>/dev/null
	grep -q 'signal SIGTERM; to continue, run the same command' "$MODEL_DIR/training/train.log"
	[ ! -e "$MODEL_DIR/training/pid" ]
	run ./train.sh --stop
	[ "$status" -eq 0 ]
	[ "$output" = "train: no training of ssd_mobilenet_v1_shapes is running" ]

	local stopped
	stopped="$(saved_step)"
	./train.sh --background 3>&-
	wait_for saved_at_least $((stopped + 10))
	kill -9 "$(cat "$MODEL_DIR/training/pid")"
	wait_for eval '! ./train.sh --status | grep -q ^running'
	run ./train.sh --status
	[[ "${lines[0]}" == *"was killed" ]]

	local killed
	killed="$(saved_step)"
	export EVAL_STEPS="$killed" NUM_TRAIN_STEPS=$((killed + 3))
	nohup ./train.sh >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
	local child=$!
	wait_for grep -q 'its lock is stale' "$BATS_TEST_TMPDIR/err"
	kill -HUP "$child"
	wait "$child"
	local begins="step $killed of $NUM_TRAIN_STEPS, batch 2, from model.ckpt-$killed"
	grep -q "$begins" "$BATS_TEST_TMPDIR/err"
	[ "$(saved_step)" -eq "$NUM_TRAIN_STEPS" ]
	[ "$(scored_steps | tr '\n' ' ')" = "step $killed $NUM_TRAIN_STEPS " ]
	ls "$MODEL_DIR"/training/best/model.ckpt-*.index

	export NUM_TRAIN_STEPS=$((NUM_TRAIN_STEPS + 2))
	run bash -c './train.sh 2>&1 <&- 3>&- | head -n 1; exit "${PIPESTATUS[0]}"'
	[ "$status" -eq 0 ]
	one_line
	[ "$(saved_step)" -eq "$NUM_TRAIN_STEPS" ]

	run ./train.sh
	[ "$status" -eq 0 ]
	[[ "$output" == *"already at step $NUM_TRAIN_STEPS of $NUM_TRAIN_STEPS: nothing to do"* ]]
	[ "$(./train.sh --plot)" = "$MODEL_DIR/training/curves.png" ]
	[ "$(head -c 4 "$MODEL_DIR/training/curves.png" | tail -c 3)" = PNG ]
}

@test "a NaN or infinite loss ends with one line that names the images of the batch" {
	export NUM_TRAIN_STEPS=40 LEARNING_RATE=1e6
	run ./train.sh
	[ "$status" -eq 1 ]
	[[ "${lines[-1]}" == "train: the loss became "*"its batch was 0"*".jpg"*"is kept; "* ]]
	[[ "${lines[-1]}" == *"resume with a LEARNING_RATE smaller than 1e+06"* ]]
}

@test "a separate evaluator scores checkpoints, and TARGET_AP stops the run" {
	[[ -n "${TODUS_SLOW:-}" ]] || skip "minutes long: TODUS_SLOW=1 runs it"
	export NUM_TRAIN_STEPS=100000 EVAL_STEPS=5 EVAL=separate EVAL_SAMPLE=2
	export TARGET_AP=0.001 LOG_STEPS=1
	run ./train.sh
	[ "$status" -eq 0 ]
	[[ "$output" == *"reached TARGET_AP 0.001"* ]]
	[ -z "$(scored_steps | sort | uniq -d)" ]
	[ ! -e "$MODEL_DIR/training/pending" ] || [ -z "$(ls "$MODEL_DIR/training/pending")" ]
}

@test "the roles of a hosts file train together, and a killed worker is started again" {
	[[ -n "${TODUS_SLOW:-}" ]] || skip "minutes long: TODUS_SLOW=1 runs it"
	# As many steps as the worker needs to join before the end.
	export NUM_TRAIN_STEPS=1200 EVAL_STEPS=1200 SAVE_STEPS=600 EVAL_SAMPLE=2 LOG_STEPS=1
	local hosts="$BATS_TEST_TMPDIR/hosts"
	paste -d' ' <(printf '%s\n' chief worker ps evaluator) <(free_ports 4 localhost:) >"$hosts"
	./train.sh --hosts "$hosts" >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
	local launcher=$!
	wait_for grep -q '^step' "$MODEL_DIR/training/worker-0.log"
	kill -9 "$(sed -n 's/.*worker-0 on .* PID \([0-9]*\),.*/\1/p' "$BATS_TEST_TMPDIR/err" | head -1)"
	wait "$launcher"
	grep -q 'worker-0 ended with signal 9; starting it again' "$BATS_TEST_TMPDIR/err"
	[ "$(saved_step)" -ge 1200 ]
	[ "$(scored_steps | wc -l)" -ge 3 ]
	[ -z "$(scored_steps | sort | uniq -d)" ]
	! grep -q Traceback "$MODEL_DIR"/training/*.log
}

@test "wrong settings are wrong usage" {
	for setting in EVAL_STEPS=-1 EVAL=beside TARGET_AP=2 TARGET_AP=best PATIENCE=x EVAL_TRAIN=yes \
		"TARGET_AP=0.5 EVAL_STEPS=0" KEEP=0; do
		# shellcheck disable=SC2086 # two settings in one
		run env $setting ./train.sh
		[ "$status" -eq 2 ] || { echo "$setting: $output" && false; }
		one_line
	done
	run ./train.sh --backgruond
	[ "$status" -eq 2 ]
	run ./train.sh --hosts "$BATS_TEST_TMPDIR/none"
	[ "$status" -eq 2 ]
}

@test "tensorboard serves the runs and prints the ssh command for a tunnel" {
	mkdir -p "$MODEL_DIR/training"
	export PORT
	PORT="$(free_ports 1)"
	./tensorboard.sh 2>"$BATS_TEST_TMPDIR/err" >/dev/null 3>&- &
	local server=$!
	local open='import sys, urllib.request as request; request.urlopen(sys.argv[1])'
	wait_for "$PYTHON" -c "$open" "http://localhost:$PORT/data/environment" 2>/dev/null
	kill "$server"
	grep -q "ssh -L $PORT:localhost:$PORT " "$BATS_TEST_TMPDIR/err"
}

@test "sync.sh pushes code, dataset and model, and pulls the training" {
	command -v rsync >/dev/null || skip "rsync is not installed"
	mkdir -p "$BATS_TEST_TMPDIR/bin" "$BATS_TEST_TMPDIR/server"
	printf '%s\n' '#!/usr/bin/env bash' 'shift; exec sh -c "$*"' >"$BATS_TEST_TMPDIR/bin/ssh"
	chmod +x "$BATS_TEST_TMPDIR/bin/ssh"
	export PATH="$BATS_TEST_TMPDIR/bin:$PATH" RSYNC_RSH="$BATS_TEST_TMPDIR/bin/ssh"
	unset MODEL_DIR
	run ./sync.sh push "there:$BATS_TEST_TMPDIR/server"
	[ "$status" -eq 0 ]
	local name=model/ssd_mobilenet_v1_shapes
	diff -r "$TODUS_HOME/$name/pretrained" "$BATS_TEST_TMPDIR/server/$name/pretrained"
	diff -r "$TODUS_HOME/dataset/mscoco/limited" "$BATS_TEST_TMPDIR/server/dataset/mscoco/limited"
	[ -x "$BATS_TEST_TMPDIR/server/train.sh" ]
	[ ! -e "$BATS_TEST_TMPDIR/server/.git" ]
	mkdir -p "$BATS_TEST_TMPDIR/server/$name/training"
	echo whole >"$BATS_TEST_TMPDIR/server/$name/training/model.ckpt-7.index"
	run ./sync.sh pull "there:$BATS_TEST_TMPDIR/server"
	[ "$status" -eq 0 ]
	[ "$(cat "$TODUS_HOME/$name/training/model.ckpt-7.index")" = whole ]
	rm -r "$TODUS_HOME/$name/training"
	run ./sync.sh pull
	[ "$status" -eq 2 ]
	run env PATH=/nonexistent /bin/bash ./sync.sh push there
	[ "$status" -ne 0 ]
}
