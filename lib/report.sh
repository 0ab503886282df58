#!/usr/bin/env bash
# Usage: make report MODEL=NAME
#
# One self-contained HTML page on a model: model/NAME/report.html.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	todus_python -m todus.commands.report "$@"
}

main "$@"
