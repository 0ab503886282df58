#!/usr/bin/env bash
# Usage: make torture [COMMANDS="export model"] [TRIALS=250]
#
# Disturbs every command at random moments (kill -9, a full disk, a failing network ...), runs it
# again, and compares its outputs with those of an undisturbed run, byte by byte. Takes an hour and
# a half; docs/reliability.md has the results.
#
#   COMMANDS  which (default: all)
#   TRIALS    moments in all, shared among all commands (default: 250)
#   CONTAINERS  1: only two runs at once, each in a PID namespace of its own, as containers have;
#               needs the right to use unshare (default: 0)
#   JOBS      replaces JOBS of the commands that obey it, and disturbs only these (default: theirs)
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
