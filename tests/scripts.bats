#!/usr/bin/env bats
# The shell side of the scripts: help, the choice of a model, the choice of a Python. No Python of Todus's runs here.

load helper

setup() {
	sandbox
	stub_python
}

@test "the help of every script is its header, and lists each variable with a default" {
	for script in "$REPO"/*.sh; do
		run "$script" --help
		[ "$status" -eq 0 ]
		[[ "${lines[0]}" == Usage:* ]]
		[[ "$output" != *"set -euo"* ]]
	done
}

@test "a script takes no arguments it does not know" {
	run "$REPO/export.sh" --steps 5
	[ "$status" -eq 2 ]
	[[ "$output" == "export: "* ]]
	one_line
}

@test "the only model is taken without a question" {
	fake_model one
	run "$REPO/export.sh"
	[ "$output" = "MODEL_DIR=$TODUS_HOME/model/one -m todus.commands.export" ]
}

@test "several models and no terminal: the list, and what to type" {
	fake_model one
	fake_model two
	run "$REPO/export.sh" </dev/null
	[ "$status" -eq 1 ]
	[ "$output" = "export: several models: one two; choose one: export MODEL_DIR=$TODUS_HOME/model/one" ]
}

@test "several models under nohup: the list in the log, and nothing runs" {
	fake_model one
	fake_model two
	nohup "$REPO/export.sh" >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" </dev/null || status=$?
	[ "$status" -eq 1 ]
	[ ! -s "$BATS_TEST_TMPDIR/out" ]
	grep -q '^export: several models: one two' "$BATS_TEST_TMPDIR/err"
}

@test "several models on a terminal: a numbered list, and a wrong answer is asked again" {
	command -v script >/dev/null || skip "no script(1) for a terminal"
	fake_model one
	fake_model two
	run script -qec "bash '$REPO/export.sh'" /dev/null < <(
		sleep 1
		echo 7
		sleep 1
		echo 2
		sleep 2
	)
	[[ "$output" == *"1) one"* ]]
	[[ "$output" == *"type a number from 1 to 2"* ]]
	[[ "$output" == *"MODEL_DIR=$TODUS_HOME/model/two -m todus.commands.export"* ]]
}

@test "no model: the command that makes one" {
	run "$REPO/export.sh"
	[ "$status" -eq 1 ]
	[[ "$output" == *"no model under $TODUS_HOME/model; run: python -m model -m "* ]]
	one_line
}

@test "MODEL_DIR that is no folder" {
	MODEL_DIR=/nowhere/else run "$REPO/export.sh"
	[ "$status" -eq 1 ]
	[[ "$output" == "export: MODEL_DIR=/nowhere/else is not a folder; run: python -m model -m else -d limited" ]]
}

@test "MODEL_DIR relative to where the person is, with a space" {
	fake_model "a b"
	cd "$TODUS_HOME/model"
	MODEL_DIR="a b" run "$REPO/export.sh"
	[ "$output" = "MODEL_DIR=$TODUS_HOME/model/a b -m todus.commands.export" ]
}

@test "PYTHON, then an active environment" {
	fake_model one
	mkdir -p "$BATS_TEST_TMPDIR/venv/bin"
	printf '%s\n' '#!/usr/bin/env bash' 'echo "the environment"' >"$BATS_TEST_TMPDIR/venv/bin/python"
	chmod +x "$BATS_TEST_TMPDIR/venv/bin/python"
	VIRTUAL_ENV="$BATS_TEST_TMPDIR/venv" run "$REPO/export.sh"
	[[ "$output" == MODEL_DIR=* ]]
	unset PYTHON
	VIRTUAL_ENV="$BATS_TEST_TMPDIR/venv" run "$REPO/export.sh"
	[ "$output" = "the environment" ]
	PYTHON=/no/such/python run "$REPO/export.sh"
	[ "$status" -eq 1 ]
	[[ "$output" == "export: PYTHON=/no/such/python is not a program;"* ]]
}

@test "make alone prints the targets with a line each" {
	run make -C "$REPO" --no-print-directory
	[ "$status" -eq 0 ]
	for target in install demo limited test lint clean; do
		[[ "$output" == *"make $target "* ]]
	done
}

@test "make limited without classes says what it needs" {
	run "$REPO/lib/limited.sh"
	[ "$status" -eq 2 ]
	one_line
}
