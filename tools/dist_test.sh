#!/usr/bin/env bash
# dist_test.sh CONFIG CHECKPOINT GPUS [options of test.py]; several machines: NNODES, NODE_RANK, MASTER_ADDR, PORT.
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: $0 CONFIG CHECKPOINT GPUS [options of test.py]" >&2; exit 2; }
tools=$(dirname "$0")
exec "${PYTHON:-python}" "$tools/launch.py" "$3" "$tools/test.py" "$1" "$2" --launcher pytorch "${@:4}"
