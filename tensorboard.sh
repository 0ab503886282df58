#!/usr/bin/env bash
# Usage: ./tensorboard.sh
#
# TensorBoard on a model's training: losses, learning rate, AP, and groundtruth beside detections. Ctrl-C ends it.
#
#   MODEL_DIR   the model's folder (default: choose from a list; the only one)
#   PORT        where it listens (default: 6006)
#   HOST        on which address (default: localhost; another one lets the whole network in)
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=lib/common.sh
source "$here/lib/common.sh"

main() {
	todus_help_if_asked "$0" "$@"
	todus_check_variables
	todus_no_arguments "$@"
	local folder port="${PORT:-6006}" host="${HOST:-localhost}"
	[[ "$port" =~ ^[0-9]{1,5}$ ]] || todus_usage_error "PORT=$port is not a port"
	folder="$(todus_choose_model)" || exit 1
	[[ -d "$folder/training" ]] || todus_die "$folder has no training yet; run: MODEL_DIR=$(todus_quoted "$folder") ./train.sh"
	todus_say "tensorboard: http://$host:$port"
	todus_say "from home:   ssh -L $port:localhost:$port ${USER:-you}@$(hostname)    and open http://localhost:$port there"
	todus_python -m tensorboard.main --logdir "$folder/training" --host "$host" --port "$port" --reload_interval 15
}

main "$@"
