#!/usr/bin/env bats
# How `make runtimes` finds a Python and sets up .runtimes. The Pythons are fake, and nothing is
# installed.

load helper

setup() {
	sandbox
	repo="$BATS_TEST_TMPDIR/repo"
	mkdir -p "$repo/lib" "$repo/.venv/bin" "$BATS_TEST_TMPDIR/bin" "$BATS_TEST_TMPDIR/userhome"
	cp "$REPO"/lib/*.sh "$repo/lib/"
	cp "$REPO"/requirements*.txt "$repo/"
	for tool in bash env dirname basename cat cksum tr awk rm cp mkdir sed flock uname; do
		ln -s "$(command -v "$tool")" "$BATS_TEST_TMPDIR/bin/$tool"
	done
	export HOME="$BATS_TEST_TMPDIR/userhome" LOG="$BATS_TEST_TMPDIR/log"
	unset RUNTIMES_PYTHON PYENV_ROOT CONDA_PREFIX UV VIRTUAL_ENV
	: >"$LOG"
	python_of 3.7 "$repo/.venv/bin/python"
}

runtimes() { PATH="$BATS_TEST_TMPDIR/bin" run "$repo/lib/runtimes.sh"; }

# python_of VERSION PATH: writes a fake Python, which copies itself as a venv and logs pip's
# arguments.
python_of() {
	mkdir -p "$(dirname "$2")"
	cat >"$2" <<FAKE
#!/usr/bin/env bash
[[ "\$1" != -I ]] || shift
case "\$*" in
"--version") echo "Python $1.9" ;;
"-m venv "*) mkdir -p "\$4/bin" && cp "\$0" "\$4/bin/python" ;;
"-m pip download "*) echo "\$*" >>"\$LOG" && mkdir -p "\${@: -1}" && : >"\${@: -1}/pip-25.whl" ;;
*"/pip install "*) echo "\$*" >>"\$LOG" ;;
*sys.version_info*) [[ " \${*:3} " == *" $1 "* ]] ;;
esac
FAKE
	chmod +x "$2"
}

@test "Python 3.11 is used before a newer one, which is used before an older one" {
	python_of 3.10 "$BATS_TEST_TMPDIR/bin/python3"
	python_of 3.13 "$HOME/.pyenv/versions/3.13.0/bin/python3.13"
	runtimes
	[ "$status" -eq 0 ]
	[[ "$output" == *"Python 3.13.9 at $HOME/.pyenv/versions/3.13.0/bin/python3.13 -> .runtimes"* ]]
	rm -rf "$repo/.runtimes"
	python_of 3.11 "$HOME/miniconda3/envs/new/bin/python3.11"
	runtimes
	[[ "$output" == *"miniconda3/envs/new/bin/python3.11 -> .runtimes"* ]]
	[ "$(grep -c -- '--require-hashes' "$LOG")" -eq 6 ] # pip itself, the packages, and MediaPipe
}

@test "RUNTIMES_PYTHON is used before all others, and must be a Python 3.9 or newer" {
	python_of 3.11 "$BATS_TEST_TMPDIR/bin/python3.11"
	python_of 3.12 "$BATS_TEST_TMPDIR/mine"
	RUNTIMES_PYTHON="$BATS_TEST_TMPDIR/mine" runtimes
	[[ "$output" == *"at $BATS_TEST_TMPDIR/mine -> .runtimes"* ]]
	rm -rf "$repo/.runtimes"
	RUNTIMES_PYTHON="$repo/.venv/bin/python" runtimes
	[ "$status" -eq 1 ]
	one_line
	[[ "$output" == *"is not a Python 3.9 to 3.14 that runs; name another" ]]
	[ ! -e "$repo/.runtimes" ]
}

@test "a second make runtimes installs nothing unless its requirements have changed" {
	python_of 3.11 "$BATS_TEST_TMPDIR/bin/python3.11"
	runtimes
	: >"$LOG"
	runtimes
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	[ ! -s "$LOG" ]
	echo "# changed" >>"$repo/requirements-runtimes.txt"
	runtimes
	[ -s "$LOG" ]
}

@test "an install of the runtimes that was killed is done again" {
	python_of 3.11 "$BATS_TEST_TMPDIR/bin/python3.11"
	mkdir -p "$repo/.runtimes/bin"
	: >"$repo/.runtimes/half"
	runtimes
	[ "$status" -eq 0 ]
	[ ! -e "$repo/.runtimes/half" ]
	[ -f "$repo/.runtimes/.installed" ]
}

@test "a runtime that cannot be installed is an error and leaves no stamp" {
	python_of 3.11 "$BATS_TEST_TMPDIR/bin/python3.11"
	sed -i 's|^\*"/pip install.*|*"/pip install "*) exit 1 ;;|' "$BATS_TEST_TMPDIR/bin/python3.11"
	runtimes
	[ "$status" -eq 1 ]
	[[ "$output" == *"could not be installed"* ]]
	[ ! -e "$repo/.runtimes/.installed" ]
}

@test "without a Python 3.9 or newer, uv downloads one" {
	cat >"$BATS_TEST_TMPDIR/bin/uv" <<FAKE
#!/usr/bin/env bash
echo "uv \$*" >>"$LOG"
mkdir -p "$repo/.python311/cpython-3.11/bin"
cp "$BATS_TEST_TMPDIR/spare" "$repo/.python311/cpython-3.11/bin/python3.11"
FAKE
	chmod +x "$BATS_TEST_TMPDIR/bin/uv"
	python_of 3.11 "$BATS_TEST_TMPDIR/spare"
	UV="$BATS_TEST_TMPDIR/bin/uv" runtimes
	[ "$status" -eq 0 ]
	grep -q '^uv --no-config python install --install-dir .* 3.11$' "$LOG"
}

@test "without a Python 3.9 and a network, the error names the command to type" {
	runtimes
	[ "$status" -eq 1 ]
	[[ "${lines[-1]}" == *"RUNTIMES_PYTHON=/path/to/python3.11 make runtimes" ]]
	[ ! -e "$repo/.runtimes" ]
}
