# shellcheck shell=bash
# What the scripts share. Sourced, never run.

TODUS_REPO="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export TODUS_HOME="${TODUS_HOME:-$TODUS_REPO}"

# todus_name: what the person typed, without folder and ending; begins every message.
todus_name() {
	local name
	name="$(basename "$0")"
	echo "${name%.sh}"
}

# todus_say WORDS...: to stderr, without the terminal escapes that names may hold.
todus_say() {
	local text="$*"
	printf '%s\n' "${text//[[:cntrl:]]/ }" >&2
}

# todus_quoted PATH: as a person can type it.
todus_quoted() { printf '%q' "$1"; }

todus_die() {
	todus_say "$(todus_name): $*"
	exit 1
}

todus_usage_error() {
	todus_say "$(todus_name): $*; see $0 --help"
	exit 2
}

# todus_help_if_asked SCRIPT ARGS...: prints the header comment of SCRIPT, which is its help, when -h or --help is among ARGS.
todus_help_if_asked() {
	local script="$1" argument
	shift
	for argument in "$@"; do
		case "$argument" in
		-h | --help)
			awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "$script"
			exit 0
			;;
		esac
	done
}

# todus_no_arguments ARGS...: refuses arguments where a script takes only environment variables.
todus_no_arguments() {
	[[ $# -eq 0 ]] || todus_usage_error "does not take \"$1\""
}

# todus_check_variables [COMMAND]: stops, before anything is chosen or made, at a variable out of its range or with a name that is nearly right.
# Any Python 3.7 or newer will do; where there is none, what runs later checks the values.
todus_check_variables() {
	local python said code=0
	for python in "$TODUS_REPO/.venv/bin/python" python3 python; do
		command -v "$python" >/dev/null || continue
		said="$(PYTHONPATH="$TODUS_REPO" "$python" -S -m todus.commands.variables "${1:-$(todus_name)}" 2>&1)" || code=$?
		[[ "$code" -eq 0 || "$code" -eq 2 ]] || { code=0 && continue; }
		[[ -z "$said" ]] || todus_say "$said"
		[[ "$code" -eq 0 ]] || exit "$code"
		return 0
	done
}

# todus_find_python: PYTHON, else the active environment's, else the repo's .venv.
todus_find_python() {
	if [[ -n "${PYTHON:-}" ]]; then
		command -v "$PYTHON" || todus_die "PYTHON=$PYTHON is not a program; name a Python 3 with TensorFlow 1.15, or unset it"
	elif [[ -n "${VIRTUAL_ENV:-}" && -x "$VIRTUAL_ENV/bin/python" ]]; then
		echo "$VIRTUAL_ENV/bin/python"
	elif [[ -n "${CONDA_PREFIX:-}" && -x "$CONDA_PREFIX/bin/python" ]]; then
		echo "$CONDA_PREFIX/bin/python"
	elif [[ -x "$TODUS_REPO/.venv/bin/python" ]]; then
		echo "$TODUS_REPO/.venv/bin/python"
	else
		todus_die "no Python environment; run: make -C \"$TODUS_REPO\" install"
	fi
}

# todus_python ARGS...: runs Todus's Python in the place of this script, with the repo's modules importable from any directory.
todus_python() {
	local python
	python="$(todus_find_python)" || exit 1
	TODUS_COMMAND="$(todus_name)" \
	PATH="$(dirname "$python"):$PATH" \
	PYTHONPATH="$TODUS_REPO${PYTHONPATH:+:$PYTHONPATH}" \
		exec "$python" "$@"
}

# todus_choose_model: MODEL_DIR, made absolute; on a terminal a choice from the list, else the only one, else the list as an error.
todus_choose_model() {
	local folder models=() names=()
	if [[ -n "${MODEL_DIR:-}" ]]; then
		[[ -d "$MODEL_DIR" ]] || todus_die "MODEL_DIR=$MODEL_DIR is not a folder; run: python -m model -m $(todus_quoted "$(basename -- "$MODEL_DIR")") -d limited"
		(CDPATH='' cd -- "$MODEL_DIR" && pwd)
		return
	fi
	for folder in "$TODUS_HOME"/model/*/pretrained/pipeline.config; do
		[[ -e "$folder" ]] && models+=("$(dirname "$(dirname "$folder")")")
	done
	for folder in ${models[@]+"${models[@]}"}; do
		names+=("$(basename "$folder")")
	done
	case ${#models[@]} in
	0) todus_die "no model under $TODUS_HOME/model; run: python -m model -m ssd_mobilenet_v1_coco_2018_01_28 -d limited" ;;
	1) echo "${models[0]}" ;;
	*)
		[[ -t 0 && -t 2 ]] || todus_die "several models: ${names[*]}; choose one: export MODEL_DIR=$(todus_quoted "${models[0]}")"
		todus_ask_model "${names[@]}"
		;;
	esac
}

# todus_ask_model NAMES...: a numbered list on the terminal, the chosen model's folder on stdout.
todus_ask_model() {
	local name PS3="Model (number): "
	select name in "$@"; do
		if [[ -n "$name" ]]; then
			echo "$TODUS_HOME/model/$name"
			return
		fi
		todus_say "type a number from 1 to $#"
	done
	todus_die "no model chosen; export MODEL_DIR=$(todus_quoted "$TODUS_HOME/model/$1")"
}

# todus_on_model MODULE ARGS...: chooses the model and runs todus's MODULE on it.
todus_on_model() {
	local module="$1" folder
	shift
	folder="$(todus_choose_model)" || exit 1
	MODEL_DIR="$folder" todus_python -m "$module" "$@"
}
