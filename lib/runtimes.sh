#!/usr/bin/env bash
# Usage: make runtimes; lib/runtimes.sh --find prints the Python that it would use
#
# Sets up .runtimes: the newest LiteRT, ONNX Runtime and OpenVINO for eval, detect and benchmark, and
# MediaPipe for the tests. Does nothing where that is done already.
#   RUNTIMES_PYTHON  a Python 3.9 to 3.14 to use (default: the first that runs of 3.11, 3.14, 3.13,
#                    3.12, 3.10 and 3.9 on PATH, pyenv's and conda's)
#   UV               a uv to fetch Python 3.11 with when none runs (default: a pinned uv is installed)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

venv="$TODUS_REPO/.runtimes"
fetched="$TODUS_REPO/.python311"

main() {
	todus_begin "$@"
	if [[ "${1:-}" == --find ]]; then
		find_python
		return
	fi
	todus_no_arguments "$@"
	todus_lock "$TODUS_REPO/.runtimes.lock"
	local stamp="$venv/.installed" digest
	digest="$( (cd "$TODUS_REPO" && cat requirements-runtimes*.txt lib/runtimes.sh) | cksum | tr -d ' ')"
	if [[ -f "$stamp" && "$(cat "$stamp")" == "$digest" ]] && "$venv/bin/python" -I -c '' 2>/dev/null; then
		return
	fi
	install
	echo "$digest" >"$stamp"
	todus_say "next: python -m eval -m MODEL --format tflite --runtime litert"
}

# runs PYTHON VERSIONS...: whether it runs, and is one of them.
runs() {
	local code='import sys, ssl, ctypes, venv; sys.exit("%d.%d" % sys.version_info[:2] not in sys.argv)'
	"$1" -I -c "$code" "${@:2}" >/dev/null 2>&1
}

find_python() {
	local version python versions=(3.11 3.14 3.13 3.12 3.10 3.9)
	if [[ -n "${RUNTIMES_PYTHON:-}" ]]; then
		runs "$RUNTIMES_PYTHON" "${versions[@]}" ||
			todus_die "RUNTIMES_PYTHON=$RUNTIMES_PYTHON is not a Python 3.9 to 3.14 that runs; name another"
		echo "$RUNTIMES_PYTHON"
		return
	fi
	for version in "${versions[@]}"; do
		while IFS= read -r python; do
			if runs "$python" "$version"; then
				echo "$python"
				return
			fi
		done < <(todus_pythons "$version" && compgen -G "$fetched/*/bin/python$version")
	done
	return 1
}

install() {
	local python
	python="$(find_python)" || {
		[[ -z "${RUNTIMES_PYTHON:-}" ]] || exit 1
		todus_fetch_python 3.11 "$fetched" && python="$(find_python)"
	} || todus_die "no Python 3.9 to 3.14; name one: RUNTIMES_PYTHON=/path/to/python3.11 make runtimes"
	todus_say "runtimes: $("$python" --version 2>&1) at $python -> .runtimes (700 MB on disk, a minute)"
	rm -rf "$venv"
	"$python" -I -m venv --without-pip "$venv" ||
		todus_die "$python cannot make a virtual environment;" \
			"name another: RUNTIMES_PYTHON=/path/to/python3.11 make runtimes"
	{ fetch_pip && pip_install -r "$TODUS_REPO/requirements-runtimes.txt"; } ||
		todus_die "a package could not be installed, see above; mend that (often the network) and retry"
	install_mediapipe
}

# fetch_pip: downloads the pinned pip with the pip of .venv; Debian's python3 may have none.
fetch_pip() {
	"$TODUS_REPO/.venv/bin/python" -I -m pip download -q --disable-pip-version-check --no-deps \
		--ignore-requires-python --require-hashes -r "$TODUS_REPO/requirements-runtimes-pip.txt" \
		-d "$venv/pip" >&2
}

pip_install() {
	local wheel=("$venv"/pip/pip-*.whl)
	"$venv/bin/python" -I "${wheel[0]}/pip" install -q --disable-pip-version-check \
		--require-hashes --only-binary :all: "$@" >&2
}

# install_mediapipe: only where it can be loaded; no command of Todus needs it.
install_mediapipe() {
	local libraries='import ctypes; [ctypes.CDLL(name) for name in ("libEGL.so.1", "libGLESv2.so.2")]'
	if [[ "$(uname)" == Linux ]] && ! "$venv/bin/python" -I -c "$libraries" 2>/dev/null; then
		todus_say "runtimes: MediaPipe is left out: it needs the libraries libegl1 and libgles2"
	elif ! pip_install --no-deps -r "$TODUS_REPO/requirements-runtimes-nodeps.txt" 2>/dev/null; then
		todus_say "runtimes: MediaPipe is left out: it has no package for this machine"
	fi
}

main "$@"
