#!/usr/bin/env bash
# Usage: make test
#
# The tests of the library (pytest), then those of the scripts (bats).
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	local python
	python="$(todus_find_python)" || exit 1
	cd "$here"
	PATH="$(dirname "$python"):$PATH"
	export PATH
	unset TODUS_HOME MODEL_DIR CATEGORIES CHECKPOINT_PREFIX NAME ZOO_URL COCO_URL OPENIMAGES_URL
	"$python" -m pytest -q -n "$(nproc)" --dist loadfile tests
	bats tests
}

main "$@"
