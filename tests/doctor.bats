#!/usr/bin/env bats
# make doctor as a command; all mirrors are a closed port of this machine.

load helper

setup() {
	sandbox
	export COCO_URL=http://127.0.0.1:9 ZOO_URL=http://127.0.0.1:9 OPENIMAGES_URL=http://127.0.0.1:9
	PYTHON="$(bash -c 'source "$0/lib/common.sh"; todus_find_python' "$REPO")"
	export PYTHON
}

@test "make doctor prints findings with remedies in 80 columns; warnings alone exit with 0" {
	run make -s -C "$REPO" doctor
	[ "$status" -eq 0 ]
	[[ "$output" == *"ok       Python 3."* ]]
	[[ "$output" == *"warning  COCO: 127.0.0.1:9: connection refused"*"-> "*"set COCO_URL"* ]]
	[[ "${lines[-1]}" == "doctor: "*"warning"*"every command works"* ]]
	for line in "${lines[@]}"; do
		[ "${#line}" -le 80 ] || [[ "$line" != *" "*" "* ]] || [[ "$line" == *"/"* ]]
	done
}

@test "a model without its files is an error with the command that repairs it, and exit code 1" {
	fake_model broken
	run "$REPO/lib/doctor.sh" --offline
	[ "$status" -eq 1 ]
	[[ "$output" == *"error "*"model/broken"*"-> python -m model -m broken"* ]]
}

@test "without an environment the doctor runs with python3 and lists what is missing" {
	mkdir -p "$BATS_TEST_TMPDIR/repo"
	cp -r "$REPO"/{lib,todus,Makefile,requirements*.txt} "$BATS_TEST_TMPDIR/repo"
	unset PYTHON VIRTUAL_ENV CONDA_PREFIX PYTHONPATH
	PATH=/usr/bin:/bin run "$BATS_TEST_TMPDIR/repo/lib/doctor.sh" --offline
	[ "$status" -eq 1 ]
	[[ "$output" == *"make install"* ]]
	[[ "$output" != *Traceback* ]]
}

@test "an unknown option is wrong usage" {
	run "$REPO/lib/doctor.sh" --quick
	[ "$status" -eq 2 ]
	one_line
}
