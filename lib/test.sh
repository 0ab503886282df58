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

# with_bats K: runs all, or the part K. Fails if a test fails.
with_bats() {
	local file others=()
	if [[ -z "$1" ]]; then
		bats tests
		return
	fi
	for file in tests/*.bats; do
		[[ "$file" == "tests/$1.bats" ]] || others+=("$file")
	done
	bats --allow-empty-suite -f "${1//_/ }" "${others[@]}" || return
	[[ ! -f "tests/$1.bats" ]] || bats "tests/$1.bats"
}

# measure FOLDER: writes the coverage of every Python process below to FOLDER.
measure() {
	export COVERAGE_FILE="$1/coverage" COVERAGE_PROCESS_START="$TODUS_REPO/pyproject.toml"
}

main() {
	todus_help_if_asked "$0" "$@"
	todus_no_arguments "$@"
	local python part="${K:-}" code=0 failed=0 bats
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
	python -m pytest -q -n "$(nproc)" --dist loadfile -k "$part" tests || code=$?
	wait "$bats" || failed=1
	cat "$scratch/bats.log"
	if [[ $code -eq 5 ]]; then # pytest selected no test
		grep -qE '^(not )?ok ' "$scratch/bats.log" || todus_die "no test matches K=$part"
	elif [[ $code -ne 0 ]]; then
		failed=1
	fi
	if [[ -n "${COVERAGE_FILE:-}" ]]; then
		python -m coverage combine -q
		python -m coverage report
	fi
	exit "$failed"
}

main "$@"
