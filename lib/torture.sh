#!/usr/bin/env bash
# Usage: make torture [COMMANDS="export model"] [TRIALS=200]
#
# Disturbs every command at random moments (kill -9, a full disk, a failing network ...), runs it
# again, and compares its outputs with those of an undisturbed run, byte by byte. Takes about an
# hour; docs/reliability.md has the results.
#
#   COMMANDS  which (default: all)
#   TRIALS    moments in all, shared among all commands (default: 200)
#   SEED      draws the moments (default: 0)
#   WORK      the folder of the trials and their results, which add up (default: one under TMPDIR)
#   WRITE     1: write docs/reliability.md from the results (default: 0)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	todus_python -m tests.torture.run
}

main "$@"
