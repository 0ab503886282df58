# shellcheck shell=bash
# The functions of the scripts. Sourced, never run.

# The next file opened would get the number of a closed stdin, stdout or stderr, and the messages.
[[ -e /dev/fd/0 ]] || exec </dev/null
[[ -e /dev/fd/1 ]] || exec >/dev/null
[[ -e /dev/fd/2 ]] || exec 2>/dev/null

TODUS_REPO="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# A quoted ~ is expanded too, as in the paths that Python reads.
# shellcheck disable=SC2088
[[ "${TODUS_HOME:-}" != "~" && "${TODUS_HOME:-}" != "~/"* ]] || TODUS_HOME="$HOME${TODUS_HOME#"~"}"
export TODUS_HOME="${TODUS_HOME:-$TODUS_REPO}"

# todus_name: the script's name without folder and ending; begins every message.
todus_name() {
	local name="$0"
	[[ ! -L "$name" ]] || name="$(readlink -f "$name")"
	name="$(basename "$name")"
	echo "${name%.sh}"
}

# todus_say WORDS...: prints to stderr, without control characters.
todus_say() {
	local text="$*"
	printf '%s\n' "${text//[[:cntrl:]]/ }" >&2
}

# todus_quoted PATH: quoted for the shell.
todus_quoted() { printf '%q' "$1"; }

todus_die() {
	todus_say "$(todus_name): $*"
	exit 1
}

todus_usage_error() {
	todus_say "$(todus_name): $*; see $0 --help"
	exit 2
}

# todus_begin ARGS...: prints the help if ARGS have -h or --help; checks the variables.
todus_begin() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
}

# todus_help_if_asked SCRIPT ARGS...: prints SCRIPT's header comment if ARGS have -h or --help.
todus_help_if_asked() {
	local script="$1" argument
	shift
	for argument in "$@"; do
		if [[ "$argument" == -h || "$argument" == --help ]]; then
			awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "$script"
			exit 0
		fi
	done
}

# todus_no_arguments ARGS...: refuses arguments, for scripts that take only variables.
todus_no_arguments() {
	[[ $# -eq 0 ]] || todus_usage_error "does not take \"$1\""
}

# todus_check_variables: exits with 2 for a variable out of its range or with a misspelled name.
# Runs under any Python 3.7 or newer; without one, the values are checked later.
todus_check_variables() {
	local python output code=0 name
	name="$(todus_name)"
	for python in "$TODUS_REPO/.venv/bin/python" python3 python; do
		command -v "$python" >/dev/null || continue
		output="$("$python" -ES "$TODUS_REPO/lib/start.py" -m todus.commands.variables "$name" 2>&1)" ||
			code=$?
		[[ "$code" -eq 0 || "$code" -eq 2 ]] || { code=0 && continue; }
		[[ -z "$output" ]] || todus_say "$output"
		[[ "$code" -eq 0 ]] || exit "$code"
		return 0
	done
}

# todus_find_python: PYTHON, else the active environment's, else the repo's .venv.
todus_find_python() {
	if [[ -n "${PYTHON:-}" ]]; then
		local remedy="name a Python with TensorFlow 1.15, or unset it"
		command -v -- "$PYTHON" >/dev/null || todus_die "PYTHON=$PYTHON is not a program; $remedy"
		[[ "$("$PYTHON" -ES -c 'print("Python")' 2>/dev/null)" == Python ]] ||
			todus_die "PYTHON=$PYTHON is not Python; $remedy"
		command -v -- "$PYTHON"
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

# todus_python -m MODULE ARGS...: replaces this script by Todus's Python, which runs a module of the
# repo or of its packages, never of the working directory: an empty entry in PYTHONPATH would be it.
todus_python() {
	local python path=":${PYTHONPATH:-}"
	python="$(todus_find_python)" || exit 1
	while [[ "$path" == *::* || "$path" == *: ]]; do
		path="${path//::/:}" path="${path%:}"
	done
	TODUS_COMMAND="$(todus_name)" \
	PATH="$(dirname "$python"):$PATH" \
	PYTHONPATH="$TODUS_REPO$path" \
		exec "$python" "$TODUS_REPO/lib/start.py" "$@"
}

# todus_choose_model: prints the absolute path of MODEL_DIR, else of the only model, else of the one
# chosen on the terminal; without a terminal the list of models is an error.
todus_choose_model() {
	local folder name models=() names=() example=ssd_mobilenet_v1_coco_2018_01_28
	if [[ -n "${MODEL_DIR:-}" ]]; then
		name="$(todus_quoted "$(basename -- "$MODEL_DIR")")"
		[[ -d "$MODEL_DIR" ]] ||
			todus_die "MODEL_DIR=$MODEL_DIR is not a folder; run: python -m model -m $name -d limited"
		(CDPATH='' cd -- "$MODEL_DIR" && pwd)
		return
	fi
	for folder in "$TODUS_HOME"/model/*/pretrained/pipeline.config; do
		[[ -e "$folder" ]] || continue
		folder="$(dirname "$(dirname "$folder")")"
		models+=("$folder")
		names+=("$(basename "$folder")")
	done
	case ${#models[@]} in
	0) todus_die "no model under $TODUS_HOME/model; run: python -m model -m $example -d limited" ;;
	1) echo "${models[0]}" ;;
	*)
		name="$(todus_quoted "${models[0]}")"
		[[ -t 0 && -t 2 ]] ||
			todus_die "several models: ${names[*]}; choose one: export MODEL_DIR=$name"
		todus_ask_model "${names[@]}"
		;;
	esac
}

# todus_ask_model NAMES...: shows a numbered list and prints the chosen model's folder to stdout.
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

# todus_on_model MODULE ARGS...: chooses the model and runs MODULE on it.
todus_on_model() {
	local module="$1" folder
	shift
	folder="$(todus_choose_model)" || exit 1
	MODEL_DIR="$folder" todus_python -m "$module" "$@"
}

# todus_without_next: removes the "next: ..." lines of a command whose next one the script runs.
todus_without_next() { sed '/^next: /d'; }

# todus_use_slice: makes PYTHON the one of .slice, which needs no TensorFlow; sets it up if absent.
todus_use_slice() {
	"$TODUS_REPO/lib/slice.sh" --set-up
	export PYTHON="$TODUS_REPO/.slice/bin/python"
}

# todus_model_to_pack: prints the folder of the prepared model that MODEL or AS names under model/;
# with CATEGORIES, first makes it as make limited does.
todus_model_to_pack() {
	local folder="$TODUS_HOME/model/${AS:-$MODEL}"
	if [[ -n "${CATEGORIES:-}" ]]; then
		MODEL="$MODEL" "$TODUS_REPO/lib/limited.sh" | todus_without_next >&2
	elif [[ ! -f "$folder/pretrained/pipeline.config" ]]; then
		todus_usage_error "no model at $folder; limit one of the zoo: CATEGORIES=\"person car\""
	fi
	echo "$folder"
}

# todus_lock FILE: waits until no other install holds the lock. Without flock (util-linux) there is
# none, and the user must avoid two installs at once.
todus_lock() {
	command -v flock >/dev/null || return 0
	[[ -w "$(dirname "$1")" ]] || return 0 # nothing can be installed there, which may be done already
	exec 9>"$1"
	flock -n 9 && return
	todus_say "$(todus_name): waiting for another install to end"
	flock 9
}

# todus_pythons VERSION: prints every path where such a Python (3.7) may be: on PATH, pyenv's, conda's.
todus_pythons() {
	local version="$1" root
	command -v "python$version" python3 python 2>/dev/null || true
	for root in "${PYENV_ROOT:-}" "$HOME/.pyenv" /opt/pyenv /usr/local/pyenv; do
		[[ -n "$root" ]] && compgen -G "$root/versions/$version*/bin/python$version" || true
	done
	for root in "${CONDA_PREFIX:-}" "$HOME"/{miniconda3,anaconda3,mambaforge,miniforge3} /opt/conda; do
		[[ -n "$root" ]] && compgen -G "$root/bin/python$version" || true
		[[ -n "$root" ]] && compgen -G "$root/envs/*/bin/python$version" || true
	done
}

# todus_fetch_python VERSION FOLDER: downloads python-build-standalone into FOLDER with a pinned uv.
todus_fetch_python() {
	local uv="${UV:-}"
	todus_say "$(todus_name): no Python $1 here; fetching one with uv"
	if [[ -z "$uv" ]]; then
		uv="$2/uv/uv"
		python3 -I "$TODUS_REPO/lib/fetch_uv.py" "$2/uv" >&2 || return 1
	fi
	"$uv" --no-config python install --install-dir "$2" "$1" >&2
}
