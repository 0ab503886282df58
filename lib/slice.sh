#!/usr/bin/env bash
# Usage: make slice FILE=detect.tflite CATEGORIES="person car dog"; lib/slice.sh --set-up: only .slice
#
# Limits a finished detector to your classes, without retraining and without TensorFlow. Sets up
# .slice, an environment of the python3 that is there (3.7 or newer), unless that is done already.
#
#   FILE        the .tflite, .pb or .onnx file, or SavedModel; unset: only set up .slice
#   CATEGORIES  classes of the file, in any order; NAME=CLASS+CLASS gives several one name
#   ALLOW_OPS   operators of a graph to run beside the known ones; docs/reliability.md
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

venv="$TODUS_REPO/.slice"
PIP=pip-24.0-py3-none-any.whl
PIP_SHA256=ba0d021a166865d2265246961bec0152ff124de910c5cc39f1156ce3fa7c69dc

main() {
	todus_begin "$@"
	if [[ "${1:-}" == --set-up ]]; then
		set_up
		return
	fi
	todus_no_arguments "$@"
	[[ -z "${FILE:-}" || -n "${CATEGORIES:-}" ]] || todus_usage_error 'needs CATEGORIES="..."'
	set_up
	if [[ -z "${FILE:-}" ]]; then
		todus_say "next: make slice FILE=detect.tflite CATEGORIES=\"person car dog\""
		return
	fi
	PYTHON="$venv/bin/python" todus_python -m slice "$FILE" "$CATEGORIES"
}

set_up() {
	local stamp="$venv/.installed" digest python
	digest="$( (cd "$TODUS_REPO" && cat requirements-slice.txt lib/slice.sh) | cksum | tr -d ' ')"
	todus_lock "$TODUS_REPO/.slice.lock"
	[[ -f "$stamp" && "$(cat "$stamp")" == "$digest" ]] && "$venv/bin/python" -I -c '' 2>/dev/null &&
		return
	python="$(find_python)" ||
		todus_die "no Python 3.7 or newer; install python3 and run this again"
	todus_say "slice: $("$python" --version 2>&1) at $python -> .slice (150 MB on disk, seconds)"
	rm -rf "$venv"
	# Debian's python3 has no ensurepip.
	"$python" -I -m venv --without-pip "$venv" || todus_die "$python cannot make an environment"
	{ fetch_pip "$python" && pip_install; } ||
		todus_die "a package could not be installed, see above; mend that (often the network) and retry"
	echo "$digest" >"$stamp"
}

# find_python: prints the first python3 of PATH that is new enough, else pyenv's or conda's.
find_python() {
	local version python code="import sys, ssl, venv; sys.exit(sys.version_info < (3, 7))"
	for version in 3 3.13 3.12 3.11 3.10 3.9 3.8 3.7; do
		while IFS= read -r python; do
			if "$python" -I -c "$code" >/dev/null 2>&1; then
				echo "$python"
				return
			fi
		done < <(todus_pythons "$version")
	done
	return 1
}

# fetch_pip PYTHON: downloads the pinned pip from PyPI, or from PIP_INDEX_URL.
fetch_pip() {
	"$1" -I - "$PIP" "$PIP_SHA256" "$venv" <<-'END' >&2
		import hashlib, os, re, sys, urllib.error, urllib.parse, urllib.request
		name, digest, folder = sys.argv[1:]
		page = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
		try:
		    text = urllib.request.urlopen(page, timeout=60).read().decode("utf-8", "replace")
		    found = re.search('href="([^"#]*%s)' % re.escape(name), text)
		    if not found:
		        sys.exit("slice: %s has no %s" % (page, name))
		    link = urllib.parse.urljoin(page, found.group(1))
		    data = urllib.request.urlopen(link, timeout=60).read()
		except OSError as error:
		    sys.exit("slice: %s cannot be read (%s)" % (page, error))
		if hashlib.sha256(data).hexdigest() != digest:
		    sys.exit("slice: %s is not the %s that is pinned" % (link, name))
		with open(os.path.join(folder, name), "wb") as file:
		    file.write(data)
	END
}

pip_install() {
	"$venv/bin/python" -I "$venv/$PIP/pip" install -q --disable-pip-version-check --require-hashes \
		--only-binary :all: -r "$TODUS_REPO/requirements-slice.txt" >&2
}

main "$@"
