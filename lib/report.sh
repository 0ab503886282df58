#!/usr/bin/env bash
# Usage: make report MODEL=NAME
#
# One self-contained HTML page on a model: model/NAME/report.html.
#   ALLOW_OPS  operators of a graph to run beside the known ones; docs/reliability.md
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
	todus_begin "$@"
	todus_python -m todus.commands.report "$@"
}

main "$@"
