#!/usr/bin/env bash
# Usage: make test [K=EXPRESSION] [COVERAGE=1]
#
# Runs the tests of the library (pytest) and those of the scripts (bats) side by side.
#
#   K         runs a part: an expression of pytest -k; of bats, the file tests/K.bats and the
#             tests with K in their name (default: all)
#   COVERAGE  1 prints the coverage of lines and branches of todus/ (default: 0)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# with_bats K: K is "" or a part. Fails if a test fails.
with_bats() {
	[[ -n "$1" ]] || bats tests || return
	[[ -z "$1" ]] || bats -f "${1//_/ }" tests || return
	[[ -z "$1" || ! -f "tests/$1.bats" ]] || bats "tests/$1.bats"
}

# with_pytest K: a K that selects no test is no failure, since it may select tests of bats.
with_pytest() {
	local code=0
	python -m pytest -q -n "$(nproc)" --dist loadfile -k "$1" tests || code=$?
	[[ $code -eq 0 || ($code -eq 5 && -n "$1") ]]
}

# measure FOLDER: writes the coverage of every Python process below to FOLDER.
measure() {
	export COVERAGE_FILE="$1/coverage" COVERAGE_PROCESS_START="$TODUS_REPO/pyproject.toml"
}

main() {
	todus_help_if_asked "$0" "$@"
	todus_no_arguments "$@"
	local python part="${K:-}" failed=0 bats
	python="$(todus_find_python)" || exit 1
	cd "$TODUS_REPO"
	PATH="$(dirname "$python"):$PATH"
	export PATH
	unset K TODUS_HOME MODEL_DIR CATEGORIES CHECKPOINT_PREFIX NAME ZOO_URL COCO_URL OPENIMAGES_URL
	scratch="$(mktemp -d)"
	trap 'rm -rf "$scratch"; kill $(jobs -p) 2>/dev/null || true' EXIT
	[[ "${COVERAGE:-0}" == 0 ]] || measure "$scratch"
	with_bats "$part" >"$scratch/bats.log" 2>&1 &
	bats=$!
	with_pytest "$part" || failed=1
	wait "$bats" || failed=1
	cat "$scratch/bats.log"
	if [[ -n "${COVERAGE_FILE:-}" ]]; then
		python -m coverage combine -q
		python -m coverage report
	fi
	exit "$failed"
}

main "$@"
