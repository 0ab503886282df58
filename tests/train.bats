#!/usr/bin/env bats
# Trainings as a person types them: in the background, asked, stopped, killed, resumed, stopped by what they score.

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
	unset CATEGORIES COCO_URL
	PYTHON="$(bash -c 'source "$0/lib/common.sh"; todus_find_python' "$REPO")"
	export PYTHON TODUS_HOME="$PREPARED_HOME" BATCH_SIZE=2 EVAL_STEPS=0 SAVE_STEPS=5 LOG_STEPS=5
	cd "$REPO"
	model_copy
}

teardown() {
	[[ ! -e "$MODEL_DIR/training/pid" ]] || kill -9 "$(cat "$MODEL_DIR/training/pid")" 2>/dev/null || true
}

@test "a training starts in the background, is asked, refuses a second, stops with a checkpoint, is killed, resumes and ends" {
	export NUM_TRAIN_STEPS=100000 BACKGROUND=1
	run ./train.sh
	[ "$status" -eq 0 ]
	[[ "$output" == *"trains in the background, PID "* && "$output" == *"--log"* && "$output" == *"--status"* && "$output" == *"--stop"* ]]
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
	[[ "$output" == *" of 100000   loss "*"learning rate"*"steps/s"*"saved     model.ckpt-"*"memory "* ]]

	local before="$SECONDS"
	run ./train.sh --stop
	[ "$status" -eq 0 ]
	[ $((SECONDS - before)) -le 30 ]
	[[ "$output" == *"train: stopped at step "* ]]
	! kill -0 "$pid" 2>/dev/null
	grep -q 'signal SIGTERM; the same command goes on' "$MODEL_DIR/training/train.log"
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
	grep -q "step $killed of $NUM_TRAIN_STEPS, batch 2, from model.ckpt-$killed" "$BATS_TEST_TMPDIR/err"
	[ "$(saved_step)" -eq "$NUM_TRAIN_STEPS" ]
	[ "$(cut -d, -f1 "$MODEL_DIR/training/metrics.csv" | tr '\n' ' ')" = "step $killed $NUM_TRAIN_STEPS " ]
	[ -e "$MODEL_DIR/training/best/checkpoint" ] || ls "$MODEL_DIR"/training/best/model.ckpt-*.index

	run ./train.sh
	[ "$status" -eq 0 ]
	[[ "$output" == *"already at step $NUM_TRAIN_STEPS of $NUM_TRAIN_STEPS: nothing to do"* ]]
	[ "$(./train.sh --plot)" = "$MODEL_DIR/training/curves.png" ]
	[ "$(head -c 4 "$MODEL_DIR/training/curves.png" | tail -c 3)" = PNG ]
}

@test "a learning rate of a million is one line that names images" {
	export NUM_TRAIN_STEPS=40 LEARNING_RATE=1e6
	run ./train.sh
	[ "$status" -eq 1 ]
	[[ "${lines[-1]}" == "train: the loss became "*"its batch was 0"*".jpg"*"is kept; go on with a LEARNING_RATE smaller than 1e+06"* ]]
}

@test "a separate evaluator scores, and an AP that is enough stops the run" {
	[[ -n "${TODUS_SLOW:-}" ]] || skip "minutes long: TODUS_SLOW=1 runs it"
	export NUM_TRAIN_STEPS=100000 EVAL_STEPS=5 EVAL=separate EVAL_SAMPLE=2 TARGET_AP=0.001 LOG_STEPS=1
	run ./train.sh
	[ "$status" -eq 0 ]
	[[ "$output" == *"reached TARGET_AP 0.001"* ]]
	[ "$(cut -d, -f1 "$MODEL_DIR/training/metrics.csv" | sort | uniq -d)" = "" ]
	[ ! -e "$MODEL_DIR/training/pending" ] || [ -z "$(ls "$MODEL_DIR/training/pending")" ]
}

@test "a chief, a worker, a parameter server and an evaluator train together, and a killed worker rejoins" {
	[[ -n "${TODUS_SLOW:-}" ]] || skip "minutes long: TODUS_SLOW=1 runs it"
	export NUM_TRAIN_STEPS=1200 EVAL_STEPS=1200 SAVE_STEPS=600 EVAL_SAMPLE=2 LOG_STEPS=1 # the worker must come in time
	"$PYTHON" - >"$BATS_TEST_TMPDIR/hosts" <<'END'
import socket
names = ("chief", "worker", "ps", "evaluator")
sockets = [socket.socket() for _ in names]
for name, each in zip(names, sockets):
    each.bind(("127.0.0.1", 0))
    print(name, "localhost:%d" % each.getsockname()[1])
END
	./train.sh --hosts "$BATS_TEST_TMPDIR/hosts" >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
	local launcher=$!
	wait_for grep -q '^step' "$MODEL_DIR/training/worker-0.log"
	kill -9 "$(sed -n 's/.*worker-0 on .* PID \([0-9]*\),.*/\1/p' "$BATS_TEST_TMPDIR/err" | head -1)"
	wait "$launcher"
	grep -q 'worker-0 ended with signal 9; starting it again' "$BATS_TEST_TMPDIR/err"
	[ "$(saved_step)" -ge 1200 ]
	[ "$(wc -l <"$MODEL_DIR/training/metrics.csv")" -ge 3 ]
	[ -z "$(cut -d, -f1 "$MODEL_DIR/training/metrics.csv" | sort | uniq -d)" ]
	! grep -q Traceback "$MODEL_DIR"/training/*.log
}

@test "wrong settings are wrong usage" {
	for setting in EVAL_STEPS=-1 EVAL=beside TARGET_AP=2 TARGET_AP=best PATIENCE=x EVAL_TRAIN=yes "TARGET_AP=0.5 EVAL_STEPS=0" KEEP=0; do
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

@test "tensorboard serves the runs and prints the tunnel to type at home" {
	mkdir -p "$MODEL_DIR/training"
	export PORT
	PORT="$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
	./tensorboard.sh 2>"$BATS_TEST_TMPDIR/err" >/dev/null 3>&- &
	local server=$!
	wait_for "$PYTHON" -c 'import sys, urllib.request as u; u.urlopen("http://localhost:%s/data/environment" % sys.argv[1])' "$PORT" 2>/dev/null
	kill "$server"
	grep -q "ssh -L $PORT:localhost:$PORT " "$BATS_TEST_TMPDIR/err"
}

@test "a tree that is pushed and pulled is the same, and a broken pull leaves what was there" {
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
