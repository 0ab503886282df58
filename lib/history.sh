#!/usr/bin/env bash
# Usage: make history
#
# One table of every training under model/: what differs, steps, AP, loss, time.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	todus_python -m todus.commands.history "$@"
}

main "$@"
