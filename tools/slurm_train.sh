#!/usr/bin/env bash
# slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]
# Environment: GPUS (8), GPUS_PER_NODE (8; 0 for CPU nodes, with TASKS_PER_NODE), CPUS_PER_TASK (5), SRUN_ARGS.
set -euo pipefail
[ $# -ge 4 ] || { echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]" >&2; exit 2; }
tools=$(dirname "$0")
"$tools/srun.sh" "$1" "$2" "$tools/train.py" "$3" --work-dir "$4" "${@:5}"
