#!/usr/bin/env bats
# Hostile values in the variables and folders that the scripts handle: none is run, none reaches the terminal raw.

load helper

setup() {
	sandbox
	stub_python
	cd "$BATS_TEST_TMPDIR" || return 1
	# shellcheck disable=SC2016 # nothing may expand these
	HOSTILE=('$(touch pwned)' '`touch pwned`' '; touch pwned' '"; touch pwned; "' "'; touch pwned; '" $'a\ntouch pwned' $'\e[2J\e]0;x\a' '-rf' '*' '$HOME' '&& touch pwned' 'a|touch pwned' '\' '!!' '[[ -e x' '${x:=y}' '%s%n' '..')
}

# harmless: the last run ran nothing of it and showed no escape.
harmless() {
	[[ ! -e pwned && ! -e "$TODUS_HOME/pwned" && ! -e "$REPO/pwned" ]] || {
		echo "ran: $1"
		return 1
	}
	[[ "$output" != *$'\e'* || "$output" == MODEL_DIR=* ]] || { # the stub in Python's place prints what it gets
		echo "an escape from: $1"
		return 1
	}
	[[ "$output" != *'syntax error'* && "$output" != *'unbound variable'* && "$output" != *'command not found'* ]] || {
		echo "$1: $output"
		return 1
	}
}

@test "MODEL_DIR" {
	for value in "${HOSTILE[@]}"; do
		for script in train eval export export-tflite convert-tflite convert-onnx benchmark tensorboard; do
			MODEL_DIR="$value" run "$REPO/$script.sh"
			harmless "$value"
		done
	done
}

@test "MODEL_DIR that is there" {
	for value in "${HOSTILE[@]}"; do
		[[ "$value" != .. ]] || continue
		mkdir -p -- "$value/pretrained"
		MODEL_DIR="$value" run "$REPO/export.sh"
		[ "$status" -eq 0 ]
		[[ "$output" == "MODEL_DIR=$PWD/$value "* ]] || {
			printf 'not %q: %q\n' "$value" "$output"
			return 1
		}
		[[ ! -e pwned ]]
	done
}

@test "a folder that begins with a dash, and one found through CDPATH" {
	mkdir -p -- -P/pretrained there/model/pretrained
	MODEL_DIR=-P run "$REPO/export.sh"
	[[ "$output" == "MODEL_DIR=$BATS_TEST_TMPDIR/-P "* ]]
	mkdir -p model/pretrained
	CDPATH="$BATS_TEST_TMPDIR/there" MODEL_DIR=model run "$REPO/export.sh"
	[[ "$output" == "MODEL_DIR=$BATS_TEST_TMPDIR/model "* ]]
}

@test "TODUS_HOME, with a model in it and without" {
	for value in "${HOSTILE[@]}"; do
		TODUS_HOME="$BATS_TEST_TMPDIR/h/$value" run "$REPO/export.sh"
		[ "$status" -eq 1 ]
		harmless "$value"
		[[ "$value" != .. ]] || continue
		mkdir -p "$BATS_TEST_TMPDIR/h/$value/model/m/pretrained"
		: >"$BATS_TEST_TMPDIR/h/$value/model/m/pretrained/pipeline.config"
		TODUS_HOME="$BATS_TEST_TMPDIR/h/$value" run "$REPO/export.sh"
		[ "$status" -eq 0 ]
		[[ ! -e pwned ]]
	done
}

@test "models with hostile names: the list is printed, and what to type can be typed" {
	for value in "${HOSTILE[@]}"; do
		[[ "$value" == .. || "$value" == *$'\n'* ]] || fake_model "$value"
	done
	run "$REPO/export.sh" </dev/null
	[ "$status" -eq 1 ]
	harmless "the list"
	one_line
	eval "${output##*choose one: }"
	[ -d "$MODEL_DIR" ]
	[[ ! -e pwned ]]
}

@test "NAME, CATEGORIES, CHECKPOINT_PREFIX, FORMAT, PORT, HOST, SECTION, DATASET and PYTHON" {
	fake_model one
	mkdir -p "$TODUS_HOME/model/one/training"
	for value in "${HOSTILE[@]}"; do
		for script in dataset-limited dataset-complete dataset-voc dataset-csv dataset-openimages dataset-merge export train convert-tflite tensorboard; do
			NAME="$value" CATEGORIES="$value" CHECKPOINT_PREFIX="$value" FORMAT="$value" PORT="$value" HOST="$value" run "$REPO/$script.sh"
			harmless "$value"
		done
		SECTION="$value" run "$REPO/lib/bench.sh"
		harmless "$value"
		PYTHON="$value" run "$REPO/export.sh"
		harmless "$value"
	done
}

@test "arguments" {
	fake_model one
	for value in "${HOSTILE[@]}"; do
		for script in export train dataset-limited dataset-voc sync; do
			run "$REPO/$script.sh" "$value"
			harmless "$value"
		done
		run "$REPO/sync.sh" push "-$value"
		[ "$status" -ne 0 ]
		harmless "$value"
	done
}

@test "make takes MODEL and CATEGORIES as they are" {
	# shellcheck disable=SC2016 # make would expand them
	printf 'include %s/Makefile\nshow:\n\t@printf "%%s|" "$$MODEL" "$$CATEGORIES"\n' "${REPO// /\\ }" >show.mk
	# shellcheck disable=SC2016
	MODEL='$(shell touch pwned) $HOME' run make -s -f show.mk show CATEGORIES='$(shell touch pwned)`x`'
	# shellcheck disable=SC2016
	[ "$output" = '$(shell touch pwned) $HOME|$(shell touch pwned)`x`|' ]
	[ ! -e pwned ]
}

@test "a class name on the way through the real command" {
	unset PYTHON
	PYTHON="$(bash -c 'source "$0/lib/common.sh"; todus_find_python' "$REPO")"
	export PYTHON COCO_URL=http://127.0.0.1:9 RETRIES=1 RETRY_WAIT=0
	for value in "${HOSTILE[@]}"; do
		NAME="$value" CATEGORIES="$value" run "$REPO/dataset-limited.sh"
		[ "$status" -ne 0 ]
		harmless "$value"
		[[ "${lines[-1]}" == "dataset-limited: "* ]]
	done
}
