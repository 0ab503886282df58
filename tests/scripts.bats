#!/usr/bin/env bats
# The shell part of the scripts: help, the choice of a model and of a Python. Python is a stub.

load helper

setup() {
	sandbox
	stub_python
}

@test "every script has a help text" {
	for script in "$REPO"/*.sh; do
		run "$script" --help
		[ "$status" -eq 0 ]
		[[ "${lines[0]}" == Usage:* ]]
		[[ "$output" != *"set -euo"* ]]
	done
}

@test "an unknown argument is a usage error" {
	run "$REPO/export.sh" --steps 5
	[ "$status" -eq 2 ]
	[[ "$output" == "export: "* ]]
	one_line
}

@test "the only model is used without a question" {
	fake_model one
	run "$REPO/export.sh"
	[ "$output" = "MODEL_DIR=$TODUS_HOME/model/one -m todus.commands.export" ]
}

@test "several models without a terminal: the error lists them and names what to type" {
	fake_model one
	fake_model two
	run "$REPO/export.sh" </dev/null
	[ "$status" -eq 1 ]
	[ "${output%: export *}" = "export: several models: one two; choose one" ]
	[ "${output##*: }" = "export MODEL_DIR=$TODUS_HOME/model/one" ]
}

@test "several models under nohup: the error is on stderr, and nothing runs" {
	fake_model one
	fake_model two
	cd "$BATS_TEST_TMPDIR"
	nohup "$REPO/export.sh" >out 2>err </dev/null || status=$?
	[ "$status" -eq 1 ]
	[ ! -s out ]
	grep -q '^export: several models: one two' err
}

@test "several models on a terminal: a numbered list, and a wrong number is asked again" {
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

@test "no model: the error names the command that makes one" {
	run "$REPO/export.sh"
	[ "$status" -eq 1 ]
	[[ "$output" == *"no model under $TODUS_HOME/model; run: python -m model -m "* ]]
	one_line
}

@test "MODEL_DIR that is not a folder is an error" {
	MODEL_DIR=/nowhere/else run "$REPO/export.sh"
	[ "$status" -eq 1 ]
	[ "${output%; run: *}" = "export: MODEL_DIR=/nowhere/else is not a folder" ]
	[ "${output#*; run: }" = "python -m model -m else -d limited" ]
}

@test "MODEL_DIR may be relative and have a space" {
	fake_model "a b"
	cd "$TODUS_HOME/model"
	MODEL_DIR="a b" run "$REPO/export.sh"
	[ "$output" = "MODEL_DIR=$TODUS_HOME/model/a b -m todus.commands.export" ]
}

@test "PYTHON is used before an active environment; a PYTHON that does not exist is an error" {
	fake_model one
	mkdir -p "$BATS_TEST_TMPDIR/venv/bin"
	program "$BATS_TEST_TMPDIR/venv/bin/python" 'echo "the environment"'
	VIRTUAL_ENV="$BATS_TEST_TMPDIR/venv" run "$REPO/export.sh"
	[[ "$output" == MODEL_DIR=* ]]
	unset PYTHON
	VIRTUAL_ENV="$BATS_TEST_TMPDIR/venv" run "$REPO/export.sh"
	[ "$output" = "the environment" ]
	PYTHON=/no/such/python run "$REPO/export.sh"
	[ "$status" -eq 1 ]
	[[ "$output" == "export: PYTHON=/no/such/python is not a program;"* ]]
	PYTHON="$(command -v true)" run "$REPO/export.sh"
	[ "$status" -eq 1 ]
	[[ "$output" == "export: PYTHON=$(command -v true) is not Python;"* ]]
}

@test "a script runs through a symlink, with TODUS_HOME=~/... that the shell did not expand" {
	fake_model one
	mkdir -p "$BATS_TEST_TMPDIR/bin"
	ln -s "$REPO/export.sh" "$BATS_TEST_TMPDIR/bin/todus-export"
	# shellcheck disable=SC2088 # quoted on purpose
	HOME="$(dirname "$TODUS_HOME")" TODUS_HOME='~/home' run "$BATS_TEST_TMPDIR/bin/todus-export"
	[ "$output" = "MODEL_DIR=$TODUS_HOME/model/one -m todus.commands.export" ]
	BATCH=x run "$BATS_TEST_TMPDIR/bin/todus-export"
	[ "$status" -eq 2 ]
	[[ "$output" == "export: BATCH=x: give "* ]]
}

@test "make without a target prints the targets, one a line" {
	run make -C "$REPO" --no-print-directory
	[ "$status" -eq 0 ]
	for target in install demo limited test lint clean; do
		[[ "$output" == *"make $target "* ]]
	done
}

@test "make limited without CATEGORIES is a usage error" {
	run "$REPO/lib/limited.sh"
	[ "$status" -eq 2 ]
	one_line
}
