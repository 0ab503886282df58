#!/usr/bin/env bash
# Usage: make torture [COMMANDS="export model"] [TRIALS=200]
#
# Disturbs every command at random moments (kill -9, a full disk, a network that fails ...), runs it again, and compares its outputs with
# an undisturbed run's, byte by byte. Takes about an hour; figures are in docs/reliability.md.
#
#   COMMANDS  which (default: all)
#   TRIALS    moments in all, shared among all commands (default: 200)
#   SEED      draws the moments (default: 0)
#   WORK      a folder for the trials and their results, which add up over calls (default: one under TMPDIR)
#   WRITE     1: write docs/reliability.md from the results (default: 0)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	todus_no_arguments "$@"
	todus_python -m tests.torture.run
}

main "$@"
