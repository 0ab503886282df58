#!/usr/bin/env bash
# Usage: make doctor [DEEP=1]
#
# Checks this machine, its Python and the files under TODUS_HOME; prints how to mend each fault.
# Exits with 1 for an error.
#
#   DEEP       1: also import TensorFlow and try a rewrite, an evaluation, a conversion (default: 0)
#   TODUS_HOME where dataset/ and model/ lie (default: this folder)
#   COCO_URL, ZOO_URL, OPENIMAGES_URL  the mirrors to check (default: the public servers)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
	todus_begin "$@"
	[[ "${DEEP:-0}" == 1 ]] && set -- --deep "$@"
	todus_doctor_python
	todus_python -m todus.commands.doctor "$@"
}

# Before make install the doctor runs under any Python 3.
todus_doctor_python() {
	[[ -x "$TODUS_REPO/.venv/bin/python" ]] && return
	[[ -n "${PYTHON:-}${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]] && return
	todus_say "doctor: no .venv here: run make install"
	export PYTHON=python3
}

main "$@"
