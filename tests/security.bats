#!/usr/bin/env bats
# Hostile variables, arguments and folders: none is run or sends escapes to the terminal.

load helper

setup() {
	sandbox
	stub_python
	cd "$BATS_TEST_TMPDIR" || return 1
	# shellcheck disable=SC2016 # nothing may expand these
	HOSTILE=('$(touch pwned)' '`touch pwned`' '; touch pwned' '"; touch pwned; "' "'; touch pwned; '"
		$'a\ntouch pwned' $'\e[2J\e]0;x\a' '-rf' '*' '$HOME' '&& touch pwned' 'a|touch pwned' '\'
		'!!' '[[ -e x' '${x:=y}' '%s%n' '..')
}

# values_for SCRIPT FIRST: sets `values`: every value for the script FIRST, five for the others,
# which read their variables by the same functions.
values_for() {
	values=("${HOSTILE[@]}")
	[[ "$1" == "$2" ]] || values=("${HOSTILE[@]:0:4}" "${HOSTILE[6]}")
}

# harmless VALUE: the last run did not run VALUE, print an escape or fail in the shell.
harmless() {
	[[ ! -e pwned && ! -e "$TODUS_HOME/pwned" && ! -e "$REPO/pwned" ]] || {
		echo "ran: $1"
		return 1
	}
	[[ "$output" != *$'\e'* || "$output" == MODEL_DIR=* ]] || { # MODEL_DIR=: the Python stub's
		echo "an escape from: $1"
		return 1
	}
	[[ ! "$output" =~ (syntax error|unbound variable|command not found) ]] || {
		echo "$1: $output"
		return 1
	}
}

@test "a hostile MODEL_DIR is harmless in every script" {
	for script in train eval {export,convert}-tflite export convert-onnx benchmark tensorboard; do
		values_for "$script" train
		for value in "${values[@]}"; do
			MODEL_DIR="$value" run "$REPO/$script.sh"
			harmless "$value"
		done
	done
}

@test "a MODEL_DIR with a hostile name is used as it is" {
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

@test "a MODEL_DIR that begins with a dash is found, and CDPATH is not used" {
	mkdir -p -- -P/pretrained there/model/pretrained
	MODEL_DIR=-P run "$REPO/export.sh"
	[[ "$output" == "MODEL_DIR=$BATS_TEST_TMPDIR/-P "* ]]
	mkdir -p model/pretrained
	CDPATH="$BATS_TEST_TMPDIR/there" MODEL_DIR=model run "$REPO/export.sh"
	[[ "$output" == "MODEL_DIR=$BATS_TEST_TMPDIR/model "* ]]
}

@test "a hostile TODUS_HOME is harmless, with a model in it and without" {
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

@test "models with hostile names are listed, and the command in the message works" {
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

@test "hostile values of the other variables are harmless" {
	fake_model one
	mkdir -p "$TODUS_HOME/model/one/training"
	for script in dataset{,-{limited,complete,voc,csv,openimages,merge,yolo}} export train \
		convert-tflite tensorboard; do
		values_for "$script" dataset-limited
		for value in "${values[@]}"; do
			NAME="$value" CATEGORIES="$value" CHECKPOINT_PREFIX="$value" FORMAT="$value" PORT="$value" \
				HOST="$value" run "$REPO/$script.sh"
			harmless "$value"
		done
	done
	for value in "${HOSTILE[@]}"; do
		SECTION="$value" run "$REPO/lib/bench.sh"
		harmless "$value"
		PYTHON="$value" run "$REPO/export.sh"
		harmless "$value"
	done
}

@test "hostile arguments are harmless" {
	fake_model one
	for script in export train dataset-limited dataset-voc dataset sync; do
		values_for "$script" export
		for value in "${values[@]}"; do
			run "$REPO/$script.sh" "$value"
			harmless "$value"
		done
	done
	for value in "${HOSTILE[@]}"; do
		run "$REPO/sync.sh" push "-$value"
		[ "$status" -ne 0 ]
		harmless "$value"
	done
}

@test "make does not expand MODEL and CATEGORIES" {
	# shellcheck disable=SC2016 # make would expand them
	local model='$(shell touch pwned) $HOME' classes='$(shell touch pwned)`x`'
	printf 'include %s/Makefile\n' "${REPO// /\\ }" >show.mk
	printf 'show:\n\t@printf "%%s|" "$$MODEL" "$$CATEGORIES"\n' >>show.mk
	MODEL="$model" run make -s -f show.mk show CATEGORIES="$classes"
	[ "$output" = "$model|$classes|" ]
	[ ! -e pwned ]
}

@test "the dataset command refuses hostile class names in one line" {
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

# shadowed: makes modules in the working directory that have the names of others, and write pwned.
shadowed() {
	local name
	for name in todus eval detect model slice demo tests bench argparse contextlib json numpy onnx os \
		pip re runpy sitecustomize ssl tensorboard tensorflow types uff usercustomize venv; do
		echo "open('$PWD/pwned', 'a').write(__name__ + ' ')" >"$name.py"
	done
}

@test "no script runs a module of the working directory in place of another" {
	shadowed
	fake_model m
	export MODEL_DIR="$TODUS_HOME/model/m"
	mkdir "$MODEL_DIR/training"
	for script in "$REPO"/*.sh "$REPO"/lib/{doctor,history,report,limited,bench,proof,torture}.sh; do
		[[ "$script" != */sync.sh ]] || continue
		MODEL=m CATEGORIES=person run "$script"
		grep -qF "$REPO/lib/start.py -m " "$BATS_TEST_TMPDIR/arguments" || {
			echo "$script: $output"
			return 1
		}
		rm "$BATS_TEST_TMPDIR/arguments"
	done
	[ ! -e pwned ]
}

@test "Python itself loads no module of the working directory" {
	shadowed
	unset PYTHON
	fake_model m
	PYTHONPATH="$REPO:" MODEL_DIR="$TODUS_HOME/model/m" run "$REPO/train.sh" --status
	[ "$status" -eq 0 ]
	[[ "$output" == *"was never trained"* ]]
	PYTHONPATH="::$REPO" run "$REPO/dataset-voc.sh" nowhere
	[ "$status" -ne 0 ]
	run "$REPO/lib/history.sh"
	MODEL_DIR="$TODUS_HOME/model/m" run "$REPO/eval.sh" --no-such
	[ "$status" -eq 2 ]
	run "$REPO/lib/runtimes.sh" --find
	[ ! -e pwned ] || {
		cat pwned
		return 1
	}
}
