#!/usr/bin/env bash
# dist_train.sh CONFIG GPUS [options of train.py]; several machines: NNODES, NODE_RANK, MASTER_ADDR, PORT.
# MAX_RESTARTS=N: when a process dies, start again from the latest checkpoint, N times at most.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 CONFIG GPUS [options of train.py]" >&2; exit 2; }
tools=$(dirname "$0")
exec "${PYTHON:-python}" "$tools/launch.py" "$2" "$tools/train.py" "$1" --launcher pytorch "${@:3}"
