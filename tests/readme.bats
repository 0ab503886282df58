#!/usr/bin/env bats
# Runs each command of README.md's bash blocks as written, in order, in one terminal session, in a
# clean checkout whose path has spaces and umlauts. A loopback server has a drawn COCO and the
# zoo's models (readme_world.py). readme_session.py lists the commands that are not run as written.

load helper

MODEL=ssd_mobilenet_v1_coco_2018_01_28

setup_file() {
	PYTHON="$(bash -c 'source "$0/lib/common.sh"; todus_find_python' "$REPO")"
	export PYTHON RESULTS="$BATS_FILE_TMPDIR/results"
	export CHECKOUT="$BATS_FILE_TMPDIR/a path with space/Geräte und Küche/todus"
	clean_checkout
	"$PYTHON" "$BATS_TEST_DIRNAME/helpers/readme_world.py" draw "$BATS_FILE_TMPDIR/served"
	"$PYTHON" "$BATS_TEST_DIRNAME/helpers/readme_world.py" environment "$CHECKOUT/.venv"
	"$PYTHON" "$BATS_TEST_DIRNAME/helpers/readme_world.py" pictures "$BATS_FILE_TMPDIR/home/pictures"
	photos=("$BATS_FILE_TMPDIR"/served/val2017/*.jpg)
	cp "${photos[0]}" "$CHECKOUT/photo.jpg"
	serve "$BATS_FILE_TMPDIR/served"
	(type_commands)
}

teardown_file() { kill "$SERVER"; }

# own_files: the files that git tracks or would add; without git, all but installed and made ones.
own_files() {
	git ls-files -z --cached --others --exclude-standard 2>/dev/null || find . \
		\( -path './.venv*' -o -path ./.python37 -o -path ./dataset -o -path ./model \
		-o -path ./demo/out -o -name __pycache__ \) -prune -o -type f -print0
}

clean_checkout() {
	mkdir -p "$CHECKOUT"
	(cd "$REPO" && own_files | xargs -0 -r ls -d 2>/dev/null | tar -c -T -) | tar -x -C "$CHECKOUT"
	(cd "$CHECKOUT" && find . -type f -print0 | sort -z | xargs -0 cksum) >"$BATS_FILE_TMPDIR/before"
}

# type_commands: runs the session in an ASCII locale, with two training steps.
type_commands() {
	local python="$PYTHON" session="$BATS_TEST_DIRNAME/helpers/readme_session.py"
	unset PYTHON VIRTUAL_ENV CONDA_PREFIX PYTHONPATH
	unset TODUS_HOME MODEL_DIR CHECKPOINT_PREFIX CATEGORIES NAME
	export HOME="$BATS_FILE_TMPDIR/home" LC_ALL=C NUM_TRAIN_STEPS=2 BATCH_SIZE=2 LOG_STEPS=1
	"$python" "$session" "$REPO/README.md" "$CHECKOUT" "$RESULTS" 3>&-
}

# no_records EXPRESSION: fails, and prints its items, when a Python expression over the list of
# records is not empty. output(r, PATTERN) finds a pattern in a record's output.
no_records() {
	"$PYTHON" - "$RESULTS" "$1" <<-'CODE'
		import json, os, re, shlex, sys
		from pathlib import Path
		from tests.helpers.readme_session import EXCEPTIONS

		def output(record, pattern):
		    return re.findall("(?m)" + pattern, record["output"])

		paths = sorted(Path(sys.argv[1]).glob("*.json"))
		records = [json.loads(path.read_text()) for path in paths]
		assert records
		found = eval(sys.argv[2])
		print(*found, sep="\n")
		sys.exit(bool(found))
	CODE
}

# succeeds SECTION: it has commands, and each of them exited with 0.
succeeds() {
	grep -lF "\"section\": \"$1\"" "$RESULTS"/*.json
	no_records "[r for r in records if r['section'] == '$1' and r['run'] and r['status'] != 0]"
}

@test "a limited model, before anything else" { succeeds "Todus"; }

@test "Install" { succeeds "Install"; }

@test "Images of your own" { succeeds "Images of your own"; }

@test "False alarms" { succeeds "False alarms"; }

@test "1. The dataset" { succeeds "1. The dataset"; }

@test "2. The model" { succeeds "2. The model"; }

@test "3. Evaluate" { succeeds "3. Evaluate"; }

@test "4. Train" { succeeds "4. Train"; }

@test "5. Export" { succeeds "5. Export"; }

@test "6. Convert" { succeeds "6. Convert"; }

@test "7. Detect" { succeeds "7. Detect"; }

@test "every section with commands has a test, and every command ended" {
	no_records "sorted({r['section'] for r in records}
		- set(re.findall(r'succeeds \"(.*?)\"; }', Path('$BATS_TEST_FILENAME').read_text())))"
	[ "$(find "$RESULTS" -name '*.json' | wc -l)" -eq "$(grep -c begin "$RESULTS/session.bash")" ]
}

@test "each exception is a command of the README" {
	no_records "sorted(set(EXCEPTIONS) - {r['command'] for r in records})"
}

@test "each step ends with the next command" {
	no_records "[r['command'] for r in records if not output(r, '^next: ') and re.match(
		r'make limited|\./dataset-|python -m model|\./train.sh$|\./export|\./convert', r['command'])]"
}

@test "the next command can be typed as printed, although the path has spaces" {
	no_records "[(r['command'], line) for r in records
		for line in output(r, '^(?:next|follow|ask|stop): .*MODEL_DIR=.*')
		if not any(word.startswith('MODEL_DIR=') and os.path.isdir(word[10:])
			for word in shlex.split(line))]"
}

@test "no command prints a traceback or a warning" {
	no_records "[(r['command'], line) for r in records
		for line in output(r, '(?i)^.*(?:traceback|warning).*$')]"
}

@test "the changed fields that python -m model prints fit a terminal of 80 columns" {
	no_records "[(r['command'], line) for r in records
		if r['command'].startswith('python -m model') for line in output(r, '^  .{79,}$')]"
}

@test "the slice scores as the zoo's graph, to the last digit printed" {
	no_records "[found for found in
		[[output(r, '^ A.*$') for r in records if r['section'].startswith('3.')]]
		if len(found) != 2 or found[0] != found[1] or not found[0]]"
}

@test "the directories are those of the README, and the classes are those typed" {
	cd "$CHECKOUT"
	ls -d dataset/mscoco/raw-data dataset/mscoco/{complete,limited}/{label_map.pbtxt,dataset.json} \
		dataset/mscoco/{complete,limited}/{train,val}.record-00000-of-00001
	cd "model/$MODEL"
	ls -d pretrained/{pipeline.config,zoo-pipeline.config,frozen_inference_graph.pb} \
		pretrained/limited/model.ckpt.index training/{model.ckpt-2.index,run.json,train.log} \
		inference-graph/{frozen_inference_graph.pb,labels.txt,tflite_graph.pb} \
		inference-graph/saved_model/saved_model.pb detections/photo.png \
		"$MODEL".{tflite,tflite.json,onnx,uff}
	[ "$(cat inference-graph/labels.txt)" = $'horse\nbear\ngiraffe' ]
}

@test "the checkout's files are unchanged; new ones are only dataset/, model/ and the logs" {
	cd "$CHECKOUT"
	local before="$BATS_FILE_TMPDIR/before"
	cut -d' ' -f3- "$before" | tr '\n' '\0' | xargs -0 cksum | diff - "$before"
	find . -type f ! -path './.venv*' ! -path './dataset/*' ! -path './model/*' ! -name '*.pyc' \
		! -name 'output[12].log' ! -name photo.jpg | sort >"$BATS_TEST_TMPDIR/after"
	cut -d' ' -f3- "$before" | sort | diff - "$BATS_TEST_TMPDIR/after"
}

@test "the training in the background continues the run, which is at its last step" {
	grep -q 'nothing to do' "$CHECKOUT/output2.log"
}

@test "commands in the README's text run as well" {
	cd "$CHECKOUT"
	unset PYTHONPATH TODUS_HOME CHECKPOINT_PREFIX NAME
	export MODEL_DIR="model/$MODEL" CATEGORIES="bear horse giraffe"
	STATS_ONLY=1 ./dataset-limited.sh | grep -q '^giraffe '
	"$PYTHON" -m model --list | grep -q "^$MODEL "
	"$PYTHON" -m model -m "$MODEL" --summary
	"$PYTHON" -m eval -m "$MODEL" -i -c bear horse --json "$BATS_TEST_TMPDIR/ap.json"
	grep -q '"bear"' "$BATS_TEST_TMPDIR/ap.json"
	./train.sh --plot
	[ -s "$MODEL_DIR/training/curves.png" ]
	make history | grep -q "^$MODEL "
	make report "MODEL=$MODEL"
	[ -s "$MODEL_DIR/report.html" ]
}

@test "TODUS_HOME elsewhere, with umlauts: dataset, model, export and detections" {
	export TODUS_HOME="$BATS_TEST_TMPDIR/Geräte und Küche" CATEGORIES="person giraffe"
	MODEL=ssd_inception_v2_coco_2018_01_28
	mkdir -p "$TODUS_HOME"
	unset MODEL_DIR CHECKPOINT_PREFIX NAME PYTHONPATH
	cd /
	"$CHECKOUT/dataset-limited.sh"
	cd "$CHECKOUT"
	"$PYTHON" -m model -m "$MODEL" -d limited
	./export.sh
	"$PYTHON" -m detect -m "$MODEL" photo.jpg
	cd "$TODUS_HOME/model/$MODEL"
	[ -s detections/photo.png ]
	[ "$(cat inference-graph/labels.txt)" = $'person\ngiraffe' ]
}
