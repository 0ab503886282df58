#!/usr/bin/env bash
# Usage: make bench [SECTION=data|train|eval]
#
# Measures speed, as ratios of runs that take turns on this machine.
#
#   SECTION  which (default: all)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	todus_no_arguments "$@"
	local sections=() section file
	for file in "$here"/bench/[a-z]*.py; do
		sections+=("$(basename "$file" .py)")
	done
	[[ -z "${SECTION:-}" || " ${sections[*]} " == *" $SECTION "* ]] || todus_usage_error "SECTION=$SECTION is unknown; there is: ${sections[*]}"
	for section in ${SECTION:-"${sections[@]}"}; do
		echo "== $section =="
		(todus_python -m "bench.$section")
	done
}

main "$@"
