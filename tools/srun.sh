#!/usr/bin/env bash
# srun.sh PARTITION JOB_NAME TOOL ARGUMENTS...: what slurm_train.sh and slurm_test.sh share.
set -euo pipefail
gpus=${GPUS:-8}
gpus_per_node=${GPUS_PER_NODE:-8}
cpus=${CPUS_PER_TASK:-5}
# Where Slurm does not bind tasks to their cores, each would start as many threads as the node has.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$cpus}"
tasks_per_node=$gpus_per_node
gres=(--gres="gpu:$gpus_per_node")
if [ "$gpus_per_node" = 0 ]; then
    tasks_per_node=${TASKS_PER_NODE:-$gpus}
    gres=()
fi
# shellcheck disable=SC2086  # SRUN_ARGS holds several arguments
exec srun -p "$1" --job-name="$2" "${gres[@]}" --ntasks="$gpus" --ntasks-per-node="$tasks_per_node" \
    --cpus-per-task="$cpus" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "${@:3}" --launcher slurm
