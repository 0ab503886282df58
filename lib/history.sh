#!/usr/bin/env bash
# Usage: make history
#
# One table of every training under model/: what differs, steps, AP, loss, time.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
	todus_begin "$@"
	todus_python -m todus.commands.history "$@"
}

main "$@"
