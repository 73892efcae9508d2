#!/usr/bin/env bash
# One task from start to finish: make data, train, test on unseen images, draw and report what was
# found.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
    detection)
        config=configs/retinanet_lsnet_t_shapes.py
        data=(data/shapes)
        pictures="ground truth (left) and predictions"
        ;;
    segmentation)
        config=configs/fpn_lsnet_t_shapes.py
        data=(data/shapes_ade20k --format ade20k)
        pictures="true label maps (left) and predictions over the images"
        ;;
    classification)
        config=configs/lsnet_t_shapes.py
        data=(data/shapes_imagenet --format imagenet --size 96x96 --train 1400 --val 210)
        pictures="images with the class found and its score"
        ;;
    *)
        echo "usage: tools/demo.sh detection|segmentation|classification" >&2
        exit 2
        ;;
esac
work_dir=work_dirs/demo_$1
rm -rf "$work_dir"

python tools/make_shapes.py "${data[@]}"
tools/dist_train.sh "$config" 1 --work-dir "$work_dir"
python tools/test.py "$config" "$work_dir/$(basename "$(cat "$work_dir/last_checkpoint")")" \
    --work-dir "$work_dir/test" --show-dir "$work_dir/pictures"
python tools/report.py "$work_dir"

echo
echo "Trained network: $work_dir"
first=$(find "$PWD/$work_dir/pictures" -name '*.png' -o -name '*.jpg' | sort | sed -n 1p)
echo "Pictures:        $(dirname "$first")"
echo "                 $pictures"
echo "Report:          $PWD/$work_dir/report.html"
