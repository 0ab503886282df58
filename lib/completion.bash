# shellcheck shell=bash
# Completes classes, models and datasets in bash. To switch it on: source lib/completion.bash
#
#   make limited MODEL=<Tab> CATEGORIES="person <Tab>
#   python -m model -m <Tab> -d <Tab> --keep <Tab>

TODUS_COMPLETED="$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# _todus_names KIND: prints the names of the classes of COCO, of the models, or of the datasets.
_todus_names() {
	local path home="${TODUS_HOME:-$TODUS_COMPLETED}" labels="$TODUS_COMPLETED/todus/labels"
	case "$1" in
	classes) sed '1d; s/^[^,]*,//; s/,.*//; s/[^[:alnum:]]/_/g' "$labels/coco.csv" ;;
	models)
		sed '1d; s/,.*//' "$labels/zoo.csv"
		for path in "$home"/model/*/pretrained/pipeline.config; do
			path="${path%/pretrained/*}" && echo "${path##*/}"
		done
		;;
	datasets)
		for path in "$home"/dataset/*/*/dataset.json; do
			path="${path#"$home"/dataset/}" path="${path%/dataset.json}" && echo "${path#mscoco/}"
		done
		;;
	targets) sed -n 's/^\([a-z][a-z-]*\):.*/\1/p' Makefile 2>/dev/null ;;
	modules) printf '%s\n' convert_uff detect eval model slice ;;
	esac
}

# _todus_complete: completes the word at the cursor by the variable or the option before it. Bash
# splits NAME=VALUE into three words.
_todus_complete() {
	local kind="" done="" word="${COMP_WORDS[COMP_CWORD]}" key="${COMP_WORDS[COMP_CWORD - 1]}"
	[[ "$key" != "=" ]] || key="${COMP_WORDS[COMP_CWORD - 2]}"
	word="${word#[\"\'=]}"
	case "${COMP_WORDS[0]##*/} $COMP_CWORD $key" in
	python*" 2 -m") kind=modules ;;
	*" CATEGORIES" | *" --categories" | *" --keep" | *" -c")
		kind=classes
		[[ "$word" != *[\ ,]* ]] || done="${word%"${word##*[ ,]}"}" # names typed before
		;;
	*" MODEL" | *" -m" | *" --model") kind=models ;;
	*" DATASET" | *" -d" | *" --dataset" | dataset-merge.sh*) kind=datasets ;;
	"make "*) [[ "${COMP_WORDS[*]: -2}" == *=* ]] || kind=targets ;;
	esac
	[[ -n "$kind" ]] || return 0
	[[ "$kind" != classes ]] || compopt -o nospace 2>/dev/null || true
	mapfile -t COMPREPLY < <(compgen -P "$done" -W "$(_todus_names "$kind")" -- "${word#"$done"}")
}

complete -o bashdefault -o default -F _todus_complete make python python3 benchmark.sh detect.py \
	dataset-label.sh dataset-merge.sh eval.py eval.sh model.py
