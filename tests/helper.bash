# shellcheck shell=bash
# What the bats files share: the repo, a sandbox as TODUS_HOME, and stubs.

REPO="$(cd "$BATS_TEST_DIRNAME/.." && pwd)"
export PYTHONPATH="$REPO"

sandbox() {
	export TODUS_HOME="$BATS_TEST_TMPDIR/home"
	mkdir -p "$TODUS_HOME"
	unset MODEL_DIR CHECKPOINT_PREFIX CATEGORIES NAME ZOO_URL COCO_URL
}

# fake_model NAME: what makes a folder a prepared model for the scripts.
fake_model() {
	mkdir -p "$TODUS_HOME/model/$1/pretrained"
	: >"$TODUS_HOME/model/$1/pretrained/pipeline.config"
}

# stub_python: a python that prints what it was called with, in the place of the real one.
stub_python() {
	mkdir -p "$BATS_TEST_TMPDIR/bin"
	# shellcheck disable=SC2016 # the stub expands them
	printf '%s\n' '#!/usr/bin/env bash' 'echo "MODEL_DIR=${MODEL_DIR:-} $*"' >"$BATS_TEST_TMPDIR/bin/python-stub"
	chmod +x "$BATS_TEST_TMPDIR/bin/python-stub"
	export PYTHON="$BATS_TEST_TMPDIR/bin/python-stub"
}

# one_line: the last run said exactly one line.
# shellcheck disable=SC2154 # bats' run sets lines and output
one_line() {
	[[ "${#lines[@]}" -eq 1 ]] || {
		printf 'said %d lines:\n%s\n' "${#lines[@]}" "$output"
		return 1
	}
}
