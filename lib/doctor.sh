#!/usr/bin/env bash
# Usage: make doctor [DEEP=1]
#
# Looks at this machine, its Python and what lies under TODUS_HOME, and says of each fault what to do; exits with 1 where there is an error.
#
#   DEEP       1 also imports TensorFlow and tries a rewrite, an evaluation and a conversion (default: 0)
#   TODUS_HOME where dataset/ and model/ lie (default: this folder)
#   COCO_URL, ZOO_URL, OPENIMAGES_URL  the mirrors that are asked whether they answer (default: the public servers)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	[[ "${DEEP:-0}" == 1 ]] && set -- --deep "$@"
	todus_doctor_python
	todus_python -m todus.commands.doctor "$@"
}

# Where nothing is installed yet any Python 3 will do: the doctor says what is missing.
todus_doctor_python() {
	[[ -n "${PYTHON:-}${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" || -x "$TODUS_REPO/.venv/bin/python" ]] && return
	todus_say "doctor: no .venv here: run make install"
	export PYTHON=python3
}

main "$@"
