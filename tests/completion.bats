#!/usr/bin/env bats
# lib/completion.bash: what bash offers after a variable or an option.

load helper

setup() {
	sandbox
	fake_model mine
	mkdir -p "$TODUS_HOME"/dataset/{mscoco/limited,voc/raccoon,voc/unfinished}
	touch "$TODUS_HOME"/dataset/{mscoco/limited,voc/raccoon}/dataset.json
}

# offers WORDS...: prints what the completion of the first word offers for the last one.
# shellcheck disable=SC2016,SC2086 # the inner bash expands them
offers() {
	(cd "$REPO" && bash --norc -euc 'source lib/completion.bash
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
		[[ "$(complete -p "${1##*/}")" =~ -F\ ([^ ]+) ]]
		"${BASH_REMATCH[1]}"
		printf "%s\n" "${COMPREPLY[@]}"' bash "$@")
}

@test "CATEGORIES= and --keep offer COCO's classes, also after others" {
	[ "$(offers make limited CATEGORIES = | wc -l)" -eq 80 ]
	[ "$(offers make limited CATEGORIES = gira)" = giraffe ]
	[ "$(offers make limited CATEGORIES = '"person traff')" = "person traffic_light" ]
	[ "$(offers make limited CATEGORIES = person,gira)" = person,giraffe ]
	[ "$(offers python -m model -m mine --keep '"dog gira')" = "dog giraffe" ]
}

@test "MODEL= and -m offer the zoo's models and those under model/" {
	[ "$(offers make report MODEL = mi)" = mine ]
	[ "$(offers python -m eval -m mi)" = mine ]
	offers ./dataset-label.sh photos -m ssd | grep -x ssd_mobilenet_v1_coco_2018_01_28
	[ "$(offers python -m de)" = detect ]
}

@test "DATASET=, -d and a merge offer the datasets that are complete" {
	[ "$(offers python -m model -m mine -d '')" = $'limited\nvoc/raccoon' ]
	[ "$(offers make proof DATASET =)" = $'limited\nvoc/raccoon' ]
	[ "$(offers ./dataset-merge.sh limited v)" = voc/raccoon ]
}

@test "make offers targets, and what is not known is left to bash" {
	[ "$(offers make frig)" = frigate ]
	[ -z "$(offers make slice FILE = de)" ]
	[ -z "$(offers python script.py --he)" ]
}

@test "on a terminal, Tab completes a class in quotes" {
	command -v tmux >/dev/null || skip "needs tmux"
	local tmux=(tmux -S "$BATS_TEST_TMPDIR/socket" -f /dev/null)
	"${tmux[@]}" new-session -d -x 80 -y 24 "cd '$REPO' && PS1='> ' bash --norc"
	"${tmux[@]}" send-keys "source lib/completion.bash" Enter 'make limited CATEGORIES="person gira' Tab
	completed() { "${tmux[@]}" capture-pane -p | grep -F "person giraffe"; }
	wait_for completed
	"${tmux[@]}" kill-server
}
