#!/usr/bin/env bats
# The newcomer's first hour: each command of README.md's bash blocks as it is written, in order, in one session at a terminal, in a clean
# checkout whose path has spaces and umlauts. COCO and the zoo are drawn ones on loopback (readme_world.py); readme_session.py types, and
# lists what is not run as it is written, with the reason.

load helper

setup_file() {
	PYTHON="$(bash -c 'source "$0/lib/common.sh"; todus_find_python' "$REPO")"
	export PYTHON CHECKOUT="$BATS_FILE_TMPDIR/a path with space/Geräte und Küche/todus" RESULTS="$BATS_FILE_TMPDIR/results"
	clean_checkout
	"$PYTHON" "$BATS_TEST_DIRNAME/helpers/readme_world.py" draw "$BATS_FILE_TMPDIR/served"
	"$PYTHON" "$BATS_TEST_DIRNAME/helpers/readme_world.py" environment "$CHECKOUT/.venv"
	photos=("$BATS_FILE_TMPDIR"/served/val2017/*.jpg)
	cp "${photos[0]}" "$CHECKOUT/photo.jpg"
	serve
	(first_hour)
}

teardown_file() { kill "$(cat "$BATS_FILE_TMPDIR/server.pid")"; }

# own_files: what git knows of the work tree, and what it would take in; without git, what is not installed, made or fetched.
own_files() {
	git ls-files -z --cached --others --exclude-standard 2>/dev/null ||
		find . \( -path './.venv*' -o -path ./.python37 -o -path ./dataset -o -path ./model -o -path ./demo/out -o -name __pycache__ \) -prune -o -type f -print0
}

clean_checkout() {
	mkdir -p "$CHECKOUT"
	(cd "$REPO" && own_files | xargs -0 -r ls -d 2>/dev/null | tar -c -T -) | tar -x -C "$CHECKOUT"
	(cd "$CHECKOUT" && find . -type f ! -path './.venv/*' -print0 | sort -z | xargs -0 cksum >"$BATS_FILE_TMPDIR/before")
}

serve() {
	(exec "$PYTHON" -m demo.server "$BATS_FILE_TMPDIR/served" 0 >"$BATS_FILE_TMPDIR/urls" 2>/dev/null) 3>&- &
	echo $! >"$BATS_FILE_TMPDIR/server.pid"
	for _ in $(seq 100); do grep -q ZOO_URL "$BATS_FILE_TMPDIR/urls" && break || sleep 0.1; done
	COCO_URL="$(sed -n 's/^COCO_URL=//p' "$BATS_FILE_TMPDIR/urls")"
	ZOO_URL="$(sed -n 's/^ZOO_URL=//p' "$BATS_FILE_TMPDIR/urls")"
	export COCO_URL ZOO_URL
}

# first_hour: the session, with little to train.
first_hour() {
	local python="$PYTHON"
	unset PYTHON VIRTUAL_ENV CONDA_PREFIX PYTHONPATH TODUS_HOME MODEL_DIR CHECKPOINT_PREFIX CATEGORIES NAME
	export NUM_TRAIN_STEPS=2 BATCH_SIZE=2 LOG_STEPS=1
	"$python" "$BATS_TEST_DIRNAME/helpers/readme_session.py" "$REPO/README.md" "$CHECKOUT" "$RESULTS" 3>&-
}

# records EXPRESSION: prints what a Python expression over the list of records gives; fails where that is not empty.
records() {
	"$PYTHON" - "$RESULTS" "$1" <<-'CODE'
		import json, os, re, shlex, sys
		from pathlib import Path

		records = [json.loads(path.read_text()) for path in sorted(Path(sys.argv[1]).glob("*.json"))]
		found = eval(sys.argv[2], dict(globals(), records=records))
		for each in found:
		    print(each)
		sys.exit(bool(found))
	CODE
}

# went_well SECTION: it has commands, and each that was run exited with 0.
went_well() {
	grep -lF "\"section\": \"$1\"" "$RESULTS"/*.json
	records "[(r['command'], r['status'], r['said']) for r in records if r['section'] == '$1' and r['run'] and r['status'] != 0]"
}

@test "a limited model, before anything else" { went_well "Todus"; }

@test "Install" { went_well "Install"; }

@test "1. The dataset" { went_well "1. The dataset"; }

@test "2. The model" { went_well "2. The model"; }

@test "3. How good is it?" { went_well "3. How good is it?"; }

@test "4. Train" { went_well "4. Train"; }

@test "5. Export" { went_well "5. Export"; }

@test "6. Convert" { went_well "6. Convert"; }

@test "7. Look" { went_well "7. Look"; }

@test "no section with commands is left out, and every command came to its end" {
	records "sorted(set(r['section'] for r in records) - set(re.findall(r'went_well \"(.*?)\"; }', open('$BATS_TEST_FILENAME').read())))"
	[ "$(find "$RESULTS" -name '*.json' | wc -l)" -eq "$(grep -c "begin" "$RESULTS/session.bash")" ]
}

@test "each exception is a command of the README" {
	"$PYTHON" -c 'import sys; sys.path.insert(0, sys.argv[1]); from tests.helpers import readme_session as s; from pathlib import Path
known = {s.bare(each.text) for each in s.commands(Path(sys.argv[2]).read_text(encoding="utf-8"))}
sys.exit("not in README.md: %s" % (set(s.EXCEPTIONS) - known) if set(s.EXCEPTIONS) - known else 0)' "$REPO" "$REPO/README.md"
}

@test "each step of the way ends with the next command" {
	records "[r['command'] for r in records if re.match(r'make limited|\./dataset-|python -m model|\./train.sh$|\./export|\./convert', r['command']) and not re.search(r'(?m)^next: ', r['said'])]"
}

@test "the next command can be typed as it is printed, although the path has spaces" {
	records "[(r['command'], line) for r in records for line in re.findall(r'(?m)^(?:next|follow|ask|stop): .*MODEL_DIR=.*', r['said'])
		if not any(word.startswith('MODEL_DIR=') and os.path.isdir(word[10:]) for word in shlex.split(line))]"
}

@test "nobody saw a traceback or a warning" {
	records "[(r['command'], line) for r in records for line in re.findall(r'(?im)^.*(?:traceback|warning).*$', r['said'])]"
}

@test "the slice scores as the zoo's graph, to the last figure printed" {
	records "[scores for scores in [[re.findall(r'(?m)^ A.*$', r['said']) for r in records if r['section'].startswith('3.')]] if len(scores) != 2 or scores[0] != scores[1] or not scores[0]]"
}

@test "the directories are those the README shows, with the classes typed" {
	for path in dataset/mscoco/{complete,limited}/{train.record-00000-of-00001,val.record-00000-of-00001,label_map.pbtxt,dataset.json} dataset/mscoco/raw-data; do
		[ -e "$CHECKOUT/$path" ] || { echo "missing: $path" && false; }
	done
	model="$CHECKOUT/model/ssd_mobilenet_v1_coco_2018_01_28"
	for path in pretrained/{pipeline.config,zoo-pipeline.config,limited} training/{model.ckpt-2.index,run.json,train.log} \
		inference-graph/{frozen_inference_graph.pb,saved_model,labels.txt,tflite_graph.pb} detections/photo.png \
		ssd_mobilenet_v1_coco_2018_01_28.{tflite,onnx,uff}; do
		[ -e "$model/$path" ] || { echo "missing: $path" && false; }
	done
	[ "$(cat "$model/inference-graph/labels.txt")" = $'horse\nbear\ngiraffe' ]
}

@test "Todus's own files are as they were, and nothing lies beside them but dataset/, model/ and the logs" {
	cd "$CHECKOUT"
	cut -d' ' -f3- "$BATS_FILE_TMPDIR/before" | tr '\n' '\0' | xargs -0 cksum | diff - "$BATS_FILE_TMPDIR/before"
	find . -type f ! -path './.venv*' ! -path './dataset/*' ! -path './model/*' ! -name '*.pyc' ! -name 'output[12].log' ! -name photo.jpg |
		sort >"$BATS_TEST_TMPDIR/after"
	cut -d' ' -f3- "$BATS_FILE_TMPDIR/before" | sort | diff - "$BATS_TEST_TMPDIR/after"
}

@test "what the README names between its blocks runs as well" {
	cd "$CHECKOUT"
	unset PYTHONPATH TODUS_HOME CHECKPOINT_PREFIX NAME
	model=ssd_mobilenet_v1_coco_2018_01_28
	export MODEL_DIR="model/$model" CATEGORIES="bear horse giraffe"
	STATS_ONLY=1 ./dataset-limited.sh | grep -q '^giraffe '
	"$PYTHON" -m model --list | grep -q "^$model "
	"$PYTHON" -m model -m "$model" --summary
	"$PYTHON" -m eval -m "$model" -i -c bear horse --json "$BATS_TEST_TMPDIR/ap.json"
	grep -q '"bear"' "$BATS_TEST_TMPDIR/ap.json"
	./train.sh --plot
	[ -s "$MODEL_DIR/training/curves.png" ]
	make history | grep -q "^$model "
	make report "MODEL=$model"
	[ -s "$MODEL_DIR/report.html" ]
}

@test "a TODUS_HOME elsewhere, with umlauts, where the locale knows none: dataset to UFF and TFLite, of another model" {
	export TODUS_HOME="$BATS_TEST_TMPDIR/Geräte und Küche" LC_ALL=C CATEGORIES="person giraffe" MODEL=ssd_inception_v2_coco_2018_01_28
	mkdir -p "$TODUS_HOME"
	unset MODEL_DIR CHECKPOINT_PREFIX NAME PYTHONPATH
	cd /
	"$CHECKOUT/dataset-limited.sh"
	cd "$CHECKOUT"
	"$PYTHON" -m model -m "$MODEL" -d limited
	./export.sh
	"$PYTHON" -m convert_uff -m "$MODEL" -t -i
	./export-tflite.sh
	./convert-tflite.sh
	"$PYTHON" -m detect -m "$MODEL" --format tflite photo.jpg
	[ -s "$TODUS_HOME/model/$MODEL/$MODEL.uff" ]
	[ -s "$TODUS_HOME/model/$MODEL/detections/photo.png" ]
	[ "$(cat "$TODUS_HOME/model/$MODEL/inference-graph/labels.txt")" = $'person\ngiraffe' ]
}
