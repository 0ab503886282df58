#!/usr/bin/env bash
# Usage: make fuzz [MINUTES=5] [TARGET=tar]
#
# Looks for inputs that break a parser: coverage-guided with atheris, which is added to .venv (x86-64
# Linux), else by damaging valid inputs. Then damages files and answers of servers, and runs the
# commands on them. docs/reliability.md has the results.
#
#   MINUTES  of all parsers together (default: 5)
#   TARGET   one parser (default: all)
#   DAMAGES  of files and answers that the commands are run on; 0 is none (default: 100)
#   SEED     draws the damages (default: 0)
#   WORK     the folder of the corpus, which grows, and of the findings (default: one under TMPDIR)
#   WRITE    1: write the table of the damages to docs/reliability.md (default: 0)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	if [[ "$(uname -sm)" == "Linux x86_64" ]]; then
		"$TODUS_REPO/lib/install.sh" fuzz
	else
		todus_say "fuzz: atheris has no wheel for this machine; valid inputs are damaged instead"
	fi
	todus_python -m tests.fuzz.run
}

main "$@"
