# shellcheck shell=bash
# The helpers of the bats files: the repo, a sandbox as TODUS_HOME, and stubs.

REPO="$(cd "$BATS_TEST_DIRNAME/.." && pwd)"
export PYTHONPATH="$REPO"

sandbox() {
	export TODUS_HOME="$BATS_TEST_TMPDIR/home"
	mkdir -p "$TODUS_HOME"
	unset MODEL_DIR CHECKPOINT_PREFIX CATEGORIES NAME ZOO_URL COCO_URL
}

# fake_model NAME: makes a folder that the scripts take for a prepared model.
fake_model() {
	mkdir -p "$TODUS_HOME/model/$1/pretrained"
	: >"$TODUS_HOME/model/$1/pretrained/pipeline.config"
}

# program PATH CODE: writes a bash program.
program() {
	printf '%s\n' '#!/usr/bin/env bash' "$2" >"$1"
	chmod +x "$1"
}

# stub_python: replaces Python by a program that prints MODEL_DIR and its arguments from -m on.
stub_python() {
	export PYTHON="$BATS_TEST_TMPDIR/python-stub"
	# shellcheck disable=SC2016 # the stub expands them
	program "$PYTHON" '[[ "$*" != "-ES -c "* ]] || exec echo Python
echo "$*" >>"$BATS_TEST_TMPDIR/arguments"
while [[ $# -gt 0 && "$1" != -m ]]; do shift; done
echo "MODEL_DIR=${MODEL_DIR:-} $*"'
}

# one_line: the last run printed exactly one line.
# shellcheck disable=SC2154 # bats' run sets lines and output
one_line() {
	[[ "${#lines[@]}" -eq 1 ]] || {
		printf 'printed %d lines:\n%s\n' "${#lines[@]}" "$output"
		return 1
	}
}

# wait_for COMMAND...: repeats it until it succeeds, at most four minutes.
wait_for() {
	local tries
	for ((tries = 0; tries < 1200; tries++)); do
		"$@" && return
		sleep 0.2
	done
	echo "did not succeed in four minutes: $*" >&2
	return 1
}

# serve FOLDER: starts a loopback server of a COCO and a zoo. Sets COCO_URL, ZOO_URL, and SERVER, its
# process id.
serve() {
	local urls
	urls="$(mktemp "$BATS_FILE_TMPDIR/urls.XXXXXX")"
	"$PYTHON" -m demo.server "$1" >"$urls" 2>/dev/null 3>&- &
	SERVER=$!
	wait_for grep -q '^ZOO_URL=' "$urls"
	COCO_URL="$(sed -n 's/^COCO_URL=//p' "$urls")"
	ZOO_URL="$(sed -n 's/^ZOO_URL=//p' "$urls")"
	export COCO_URL ZOO_URL SERVER
}
