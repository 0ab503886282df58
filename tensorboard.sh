#!/usr/bin/env bash
# Usage: ./tensorboard.sh
#
# Runs TensorBoard for a model's training: losses, learning rate, AP, and groundtruth beside
# detections, until Ctrl-C.
#
#   MODEL_DIR   the model's folder (default: choose from a list; the only one)
#   PORT        where it listens (default: 6006)
#   HOST        on which address (default: localhost; any other address is open to the network)
set -euo pipefail
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib/common.sh"

main() {
	todus_begin "$@"
	todus_no_arguments "$@"
	local folder port="${PORT:-6006}" host="${HOST:-localhost}"
	[[ "$port" =~ ^[0-9]{1,5}$ ]] || todus_usage_error "PORT=$port is not a port"
	((10#$port <= 65535)) || todus_usage_error "PORT=$port is not a port"
	folder="$(todus_choose_model)" || exit 1
	[[ -d "$folder/training" ]] ||
		todus_die "$folder has no training yet; run: MODEL_DIR=$(todus_quoted "$folder") ./train.sh"
	todus_say "tensorboard: http://$host:$port"
	todus_say "from another machine: ssh -L $port:localhost:$port ${USER:-you}@$(hostname)" \
		"and open http://localhost:$port there"
	todus_python -m tensorboard.main --logdir "$folder/training" --host "$host" --port "$port" \
		--reload_interval 15
}

main "$@"
