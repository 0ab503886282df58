#!/usr/bin/env bash
# Usage: make bench [SECTION=data|train|eval|forms]
#
# Measures speed: ratios between runs that alternate on this machine.
#
#   SECTION  which (default: all)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	local sections=() section file
	for file in "$TODUS_REPO"/bench/[a-z]*.py; do
		sections+=("$(basename "$file" .py)")
	done
	[[ -z "${SECTION:-}" || " ${sections[*]} " == *" $SECTION "* ]] ||
		todus_usage_error "SECTION=$SECTION is unknown; it is one of: ${sections[*]}"
	for section in ${SECTION:-"${sections[@]}"}; do
		echo "== $section =="
		(todus_python -m "bench.$section")
	done
}

main "$@"
