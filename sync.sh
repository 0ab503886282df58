#!/usr/bin/env bash
# Usage: ./sync.sh push|pull HOST[:DIR]
#
# push copies the code, one model and its dataset to a server; pull copies the training and the
# exported files back. Uses rsync over ssh: only differences are sent, and an interrupted transfer
# resumes.
#
#   HOST        as ssh takes it, or local: for a folder of this machine
#   DIR         the folder there (default: todus, in your home)
#   MODEL_DIR   the model's folder (default: choose from a list; the only one)
#   DATASET     the dataset's name (default: the one that the model was prepared for)
#   RSYNC_RSH   the remote shell (default: ssh)
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

# An incomplete file stays in .rsync-partial, so that it never has the name of a complete one.
options=(--archive --compress --partial-dir=.rsync-partial --relative --exclude=.rsync-partial
	--exclude='.*.lock' --exclude='.*.part-*' --exclude='.*.scratch-*')

# dataset_of MODEL: the folder of the dataset that MODEL was prepared for, relative to TODUS_HOME.
dataset_of() {
	local name="${DATASET:-}"
	[[ -n "$name" ]] ||
		name="$(sed -n 's/^  "dataset": "\(.*\)",\{0,1\}$/\1/p' "$1/pretrained/source.json")"
	[[ -n "$name" ]] || todus_die "$1 was prepared without a dataset; DATASET=NAME names one"
	[[ "$name" == */* ]] || name="mscoco/$name"
	[[ -d "$TODUS_HOME/dataset/$name" ]] ||
		todus_die "no dataset at $TODUS_HOME/dataset/$name; name one: DATASET=NAME"
	echo "dataset/$name"
}

push() {
	local target="$1" model="$2" dataset
	dataset="$(dataset_of "$TODUS_HOME/$model")" || exit 1
	todus_say "sync: the code to $target"
	(cd "$TODUS_REPO" && rsync "${options[@]}" --exclude=/dataset --exclude=/model \
		--exclude=/demo/out --exclude=.git --exclude=.venv --exclude=__pycache__ \
		--exclude='.*_cache' --exclude=.hypothesis ./ "$target/")
	todus_say "sync: $dataset and $model to $target"
	(cd "$TODUS_HOME" && rsync "${options[@]}" --exclude='train.log*' \
		--exclude=/"$model"/training/pid "$dataset" "$model" "$target/")
	todus_say "next, there: make install && MODEL_DIR=$model ./train.sh --background"
}

# pull SOURCE MODEL: copies the model except its pretrained files, which push has copied.
pull() {
	local source="$1" model="$2"
	todus_say "sync: $model from $source"
	(cd "$TODUS_HOME" && rsync "${options[@]}" --exclude=/"$model"/pretrained \
		--exclude=/"$model"/training/pid "$source/./$model" ./)
	todus_say "next: MODEL_DIR=$(todus_quoted "$TODUS_HOME/$model") ./train.sh --status"
}

main() {
	todus_begin "$@"
	[[ $# -eq 2 && "$1" =~ ^(push|pull)$ && -n "$2" && "$2" != -* ]] ||
		todus_usage_error "takes push or pull, and HOST[:DIR]"
	command -v rsync >/dev/null ||
		todus_die "rsync is not installed; here and on the server, run: apt-get install rsync"
	local host="${2%%:*}" folder model place
	folder="${2#"$host"}" && folder="${folder#:}" && folder="${folder:-todus}"
	place="$host:${folder%/}"
	[[ "$host" != local ]] || place="${folder%/}"
	model="$(todus_choose_model)" || exit 1
	[[ "$model" == "$TODUS_HOME"/model/* ]] || todus_die "$model is not under $TODUS_HOME/model"
	"$1" "$place" "${model#"$TODUS_HOME"/}"
}

main "$@"
