"""Export a checkpoint for another runtime: ONNX Runtime, OpenVINO, or torch without lsnet_mm.

Classifiers give probabilities, segmentors label maps, detectors boxes, scores, labels and masks
with NMS in the graph, all by standard operators. The file is run and compared with PyTorch before
it is kept; it carries its classes and preprocessing.
"""

import argparse

from options import add_config_option, add_trust_option, image_size, user_errors


def parse_args() -> argparse.Namespace:
    """Parse the command line; nothing heavy is imported before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file of mmpretrain, mmseg or mmdet")
    parser.add_argument("checkpoint", help="checkpoint file or URL; published ones fit too")
    parser.add_argument("--format", choices=["onnx", "openvino", "torch-export"], default="onnx")
    parser.add_argument(
        "--out", metavar="FILE", help="file to write: .onnx, .xml or .pt2 (default: CONFIG's name)"
    )
    parser.add_argument(
        "--size", type=image_size, metavar="HxW", help="image size (default: the config's)"
    )
    parser.add_argument(
        "--dynamic-size",
        action="store_true",
        help="take images of any size; slower, as attention biases are resized on every call",
    )
    parser.add_argument("--logits", action="store_true", help="segmentors: give logits too")
    parser.add_argument(
        "--fp16", action="store_true", help="float16 inside; inputs and outputs stay float32"
    )
    parser.add_argument(
        "--int8",
        metavar="FOLDER",
        help="quantise the ONNX network with this folder's images and print its accuracy on the "
        "config's validation set beside float32's (detectors and segmentors: with --dynamic-size)",
    )
    parser.add_argument(
        "--calibration-images", type=int, default=64, help="of --int8 (default: %(default)s)"
    )
    parser.add_argument(
        "--samples",
        nargs="+",
        metavar="IMAGE",
        help="images to compare with PyTorch on (default: synthetic ones)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        help="largest difference to PyTorch (default: 0.001, with --fp16 0.02)",
    )
    add_config_option(parser)
    add_trust_option(parser)
    parser.set_defaults(launcher="none", work_dir=None)
    return parser.parse_args()


def main() -> None:
    """Export."""
    args = parse_args()
    with user_errors():
        from lsnet_mm.deploy.tool import export

        export(args)


if __name__ == "__main__":
    main()
