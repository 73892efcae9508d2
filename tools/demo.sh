#!/usr/bin/env bash
# The main job from start to finish: make data, train, test on unseen images, draw what was found.
set -euo pipefail
cd "$(dirname "$0")/.."
config=configs/retinanet_lsnet_t_shapes.py
work_dir=work_dirs/demo
rm -rf "$work_dir"

python tools/make_shapes.py data/shapes
tools/dist_train.sh "$config" 1 --work-dir "$work_dir"
python tools/test.py "$config" "$work_dir/$(basename "$(cat "$work_dir/last_checkpoint")")" \
    --work-dir "$work_dir/test" --show-dir "$work_dir/pictures"

echo
echo "Trained detector:                    $work_dir"
echo "Ground truth (left) and predictions: $(pwd)/$work_dir/pictures"
