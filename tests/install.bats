#!/usr/bin/env bats
# How `make install` finds a Python 3.7. The Pythons are fake, and nothing is installed.

load helper

setup() {
	sandbox
	mkdir -p "$BATS_TEST_TMPDIR/repo/lib" "$BATS_TEST_TMPDIR/bin" "$BATS_TEST_TMPDIR/userhome"
	cp "$REPO"/lib/*.sh "$REPO"/lib/*.py "$BATS_TEST_TMPDIR/repo/lib/"
	cp "$REPO"/requirements*.txt "$BATS_TEST_TMPDIR/repo/"
	for tool in bash env dirname basename cat cksum tr awk rm cp ln mkdir sed flock; do
		ln -s "$(command -v "$tool")" "$BATS_TEST_TMPDIR/bin/$tool"
	done
	export HOME="$BATS_TEST_TMPDIR/userhome" LOG="$BATS_TEST_TMPDIR/log"
	unset PYTHON37 PYENV_ROOT CONDA_PREFIX UV VIRTUAL_ENV
	: >"$LOG"
}

install() { PATH="$BATS_TEST_TMPDIR/bin" run "$BATS_TEST_TMPDIR/repo/lib/install.sh"; }

# python37 PATH: writes a fake Python 3.7, which copies itself as a venv and logs pip's arguments.
python37() {
	mkdir -p "$(dirname "$1")"
	cat >"$1" <<'FAKE'
#!/usr/bin/env bash
[[ "$1" != -I ]] || shift
case "$*" in
"--version") echo "Python 3.7.16" ;;
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip "*) echo "$*" >>"$LOG" ;;
*sysconfig*) echo "${0%/bin/*}/site" && mkdir -p "${0%/bin/*}/site" ;;
esac
FAKE
	chmod +x "$1"
}

# broken PATH: writes a program that fails, as pyenv's shim does without a global version.
broken() { program "$1" 'exit 127'; }

@test "a python3.7 on PATH that does not run is skipped, and pyenv's is used" {
	broken "$BATS_TEST_TMPDIR/bin/python3.7"
	python37 "$HOME/.pyenv/versions/3.7.16/bin/python3.7"
	install
	[ "$status" -eq 0 ]
	[[ "$output" == *"at $HOME/.pyenv/versions/3.7.16/bin/python3.7 -> .venv"* ]]
	[ "$(grep -c -- --require-hashes "$LOG")" -eq 2 ]
	[ -L "$BATS_TEST_TMPDIR/repo/.venv/site/nets" ]
}

@test "conda's Python 3.7 is found, and PYTHON37 is used before it" {
	python37 "$HOME/miniconda3/envs/old/bin/python3.7"
	install
	[[ "$output" == *"miniconda3/envs/old"* ]]
	rm -rf "$BATS_TEST_TMPDIR/repo/.venv"
	python37 "$BATS_TEST_TMPDIR/mine"
	PYTHON37="$BATS_TEST_TMPDIR/mine" install
	[[ "$output" == *"at $BATS_TEST_TMPDIR/mine -> .venv"* ]]
}

@test "a second run installs nothing unless the requirements have changed" {
	python37 "$BATS_TEST_TMPDIR/bin/python3.7"
	install
	: >"$LOG"
	install
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	[ ! -s "$LOG" ]
	echo "# changed" >>"$BATS_TEST_TMPDIR/repo/requirements.txt"
	install
	[ -s "$LOG" ]
}

@test "without a Python 3.7, uv downloads one" {
	cat >"$BATS_TEST_TMPDIR/bin/uv" <<FAKE
#!/usr/bin/env bash
echo "uv \$*" >>"$LOG"
mkdir -p "$BATS_TEST_TMPDIR/repo/.python37/cpython-3.7/bin"
cp "$BATS_TEST_TMPDIR/spare" "$BATS_TEST_TMPDIR/repo/.python37/cpython-3.7/bin/python3.7"
FAKE
	chmod +x "$BATS_TEST_TMPDIR/bin/uv"
	python37 "$BATS_TEST_TMPDIR/spare"
	UV="$BATS_TEST_TMPDIR/bin/uv" install
	[ "$status" -eq 0 ]
	grep -q '^uv --no-config python install --install-dir .* 3.7$' "$LOG"
}

# an_index: serves an index whose uv logs its arguments and makes $spare the Python 3.7; sets pid.
an_index() {
	local real
	for real in python3.{11,12,13,10,9} /usr/bin/python3; do # not a shim, which needs more programs
		real="$("$real" -I -c 'import sys; print(sys.version_info > (3, 8) and sys.executable)')" &&
			[[ "$real" == /* ]] && break
	done 2>/dev/null
	[[ "$real" == /* ]] || skip "needs a Python newer than 3.8"
	printf '#!/bin/sh\nexec "%s" "$@"\n' "$real" >"$BATS_TEST_TMPDIR/bin/python3"
	chmod +x "$BATS_TEST_TMPDIR/bin/python3"
	"$real" -I - "$BATS_TEST_TMPDIR" <<'MAKE'
import hashlib, platform, sys, zipfile
home = sys.argv[1]
script = """#!/usr/bin/env bash
echo "uv $*" >>"%s/log"
mkdir -p %s/repo/.python37/cpython-3.7/bin
cp %s/spare %s/repo/.python37/cpython-3.7/bin/python3.7
""" % ((home,) * 4)
system = "macosx_11_0" if sys.platform == "darwin" else "manylinux_2_17"
name = "uv-0.0.1-py3-none-%s_%s.whl" % (system, platform.machine())
import os
os.makedirs(home + "/index/uv")
with zipfile.ZipFile(home + "/index/uv/" + name, "w") as wheel:
    wheel.writestr("uv-0.0.1.data/scripts/uv", script)
digest = hashlib.sha256(open(home + "/index/uv/" + name, "rb").read()).hexdigest()
open(home + "/repo/requirements-uv.txt", "w").write("uv==0.0.1 --hash=sha256:" + digest)
open(home + "/index/uv/index.html", "w").write('<a href="%s#sha256=%s">x</a>' % (name, digest))
MAKE
	"$real" -I -u -c 'import http.server as h, functools as f, sys
handler = f.partial(h.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = h.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_address[1])
server.serve_forever()' "$BATS_TEST_TMPDIR/index" >"$BATS_TEST_TMPDIR/port" 2>/dev/null 3>&- &
	pid=$!
	wait_for test -s "$BATS_TEST_TMPDIR/port"
	PIP_INDEX_URL="http://127.0.0.1:$(cat "$BATS_TEST_TMPDIR/port")"
	export PIP_INDEX_URL
}

@test "uv is fetched without pip and ensurepip, and only with its pinned digest" {
	local pid
	python37 "$BATS_TEST_TMPDIR/spare"
	an_index
	install
	[ "$status" -eq 0 ]
	grep -q '^uv --no-config python install --install-dir .* 3.7$' "$LOG"
	rm -rf "$BATS_TEST_TMPDIR/repo/.venv" "$BATS_TEST_TMPDIR/repo/.python37"
	sed -i 's/sha256:.*/sha256:0/' "$BATS_TEST_TMPDIR/repo/requirements-uv.txt"
	install
	kill "$pid"
	[ "$status" -eq 1 ]
	[[ "$output" == *"uv cannot be fetched: http"*" is not the file that requirements-uv.txt pins"* ]]
	[[ "$output" == *"PYTHON37=/path/to/python3.7 make install"* ]]
	[ ! -e "$BATS_TEST_TMPDIR/repo/.python37" ]
}

@test "without a Python 3.7 and a network, the error names the command to type" {
	broken "$BATS_TEST_TMPDIR/bin/python3"
	install
	[ "$status" -eq 1 ]
	[[ "$output" == *"no Python 3.7"* ]]
	[[ "$output" == *"PYTHON37=/path/to/python3.7 make install"* ]]
	[ ! -e "$BATS_TEST_TMPDIR/repo/.venv" ]
}

@test "a package that cannot be installed is an error and leaves no stamp" {
	python37 "$BATS_TEST_TMPDIR/bin/python3.7"
	sed -i 's/"-m pip "\*)/"-m pip "*) exit 1;; "nothing")/' "$BATS_TEST_TMPDIR/bin/python3.7"
	install
	[ "$status" -eq 1 ]
	[[ "$output" == *"could not be installed"* ]]
	[ ! -e "$BATS_TEST_TMPDIR/repo/.venv/.installed-runtime" ]
}
