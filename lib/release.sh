#!/usr/bin/env bash
# Usage: make release; lib/release.sh --check FILE.whl
#
# Builds the wheel of the command todus-slice, dist/todus-VERSION-py3-none-any.whl, and checks it:
# its version is that of todus/__init__.py and the first of CHANGELOG.md, and the command, installed
# in the environment of make slice, limits a file. --check only checks a wheel.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

slice="$TODUS_REPO/.slice"

main() {
	todus_begin "$@"
	local version wheel
	version="$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$TODUS_REPO/todus/__init__.py")"
	scratch="$(mktemp -d)"
	trap 'rm -rf "$scratch"' EXIT
	if [[ "${1:-}" == --check ]]; then
		[[ -f "${2:-}" ]] || todus_usage_error "--check needs the path of a wheel; make one: make release"
		check "$2" "$version"
		return
	fi
	todus_no_arguments "$@"
	check_changelog "$version"
	wheel="$(build)" || todus_die "the wheel was not built, see above; run: make dev"
	check "$wheel" "$version"
	mkdir -p "$TODUS_REPO/dist"
	mv "$wheel" "$TODUS_REPO/dist/"
	echo "dist/$(basename "$wheel"), $(wc -c <"$TODUS_REPO/dist/$(basename "$wheel")") bytes"
	echo "next: git tag -a v$version -m \"Todus $version\" && git push origin v$version"
}

check_changelog() {
	local first
	first="$(sed -n 's/^## \([0-9][^ ]*\).*/\1/p' "$TODUS_REPO/CHANGELOG.md" | head -n 1)"
	[[ "$first" == "$1" ]] ||
		todus_die "CHANGELOG.md begins with $first, todus/__init__.py has $1; change one of them"
}

# build: prints the path of the wheel; built in a copy, or setuptools would pack older files too.
build() {
	local python
	python="$(todus_find_python)" || return 1
	mkdir "$scratch/source"
	(cd "$TODUS_REPO" && tar -c --exclude=__pycache__ pyproject.toml LICENSE todus) |
		tar -x -C "$scratch/source"
	SOURCE_DATE_EPOCH="$(git -C "$TODUS_REPO" log -1 --format=%ct 2>/dev/null || date +%s)"
	export SOURCE_DATE_EPOCH
	"$python" -I -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation \
		-w "$scratch" "$scratch/source" >&2 && echo "$scratch"/*.whl
}

# check WHEEL VERSION: installs it beside the packages of make slice, and limits a small file.
check() {
	local installed="$scratch/installed" pip
	"$TODUS_REPO/lib/slice.sh" --set-up
	pip=("$slice"/pip-*.whl)
	"$slice/bin/python" -I "${pip[0]}/pip" install -q --disable-pip-version-check --no-deps \
		--target "$installed" "$1" >&2 || todus_die "$1 cannot be installed; build it: make release"
	cd "$scratch"
	"$slice/bin/python" -I - "$installed" "$TODUS_REPO" "$2" <<-'END' ||
		import sys
		from pathlib import Path

		folder, repo, version = sys.argv[1:]
		sys.path[:0] = [folder]
		sys.path.append(repo)
		import todus
		from tests.helpers import finished_files

		assert Path(todus.__file__).parent.parent == Path(folder), todus.__file__
		assert todus.__version__ == version, todus.__version__
		Path("detect.tflite").write_bytes(finished_files.detector("int8"))
		Path("labels.txt").write_text("a\nb\nc\nd\ne\nf\ng\n")
	END
		todus_die "$1 is not of version $2; build it: make release"
	PYTHONPATH="$installed" "$installed/bin/todus-slice" detect.tflite "g b" >"$scratch/log" 2>&1 ||
		todus_die "todus-slice of $1 fails: $(tail -n 1 "$scratch/log")"
	[[ "$(cat detect-limited-labels.txt)" == $'g\nb' ]] ||
		todus_die "todus-slice of $1 keeps other classes"
	todus_say "release: todus-slice $2 limits a file under $("$slice/bin/python" --version)"
}

main "$@"
