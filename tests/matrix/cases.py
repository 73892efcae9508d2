"""Configs of mmdet, mmseg and mmpretrain, and what a user writes to have LSNet-T in them."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """A config of a library with LSNet-T in it.

    Attributes:
        family: The network's name.
        config: The library's, as ``_base_`` names it.
        task: What it predicts.
        way: What is written into ``model``, a key of :data:`WAYS`.
        remark: Why it takes more than that, or what is lost.
        settings: What else is set in ``model``, by dotted names, as by ``--cfg-options``.
        sample: What a detector's examples have besides boxes: ``'masks'``, ``'semantic'`` label
            maps, or ``'semantic8'``, an eighth as large, ``'proposals'``; or ``'lanes'`` instead.
        side: Of the images, in pixels.
    """

    family: str
    config: str
    task: str
    way: str
    remark: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    sample: str = ""
    side: int = 128

    @property
    def library(self) -> str:
        """The library's name."""
        return self.config.partition("::")[0]


LIBRARIES = ("mmdet", "mmseg", "mmpretrain")

# The pixels that the weights take (mmpretrain's configs have them elsewhere); no other weights.
ALWAYS = {
    "mmdet": "data_preprocessor=_base_.lsnet_pixels, ",
    "mmseg": "data_preprocessor=_base_.lsnet_pixels, pretrained=None, ",
    "mmpretrain": "",
}

# What a user's config says after `model = dict(`; `_base_` are the library's config and ours.
WAYS = {
    # mmdet
    "FPN, 4-64": "backbone=_base_.lsnet, neck=_base_.lsnet_fpn",
    "FPN, 4-32": "backbone=dict(_base_.lsnet, out_indices=(0, 1, 2)), "
    "neck=dict(_base_.lsnet_fpn, in_channels=_base_.lsnet_channels[:3])",
    "FPN, 8-128": "backbone=_base_.lsnet, "
    "neck=dict(in_channels=_base_.lsnet_channels, start_level=0)",
    "FPN, 8-128, then another": "backbone=_base_.lsnet, neck=[dict(_base_.model.neck[0], "
    "in_channels=_base_.lsnet_channels, start_level=0), *_base_.model.neck[1:]]",
    "FPN, 4-64, then another": "backbone=_base_.lsnet, "
    "neck=[dict(_base_.model.neck[0], **_base_.lsnet_fpn), *_base_.model.neck[1:]]",
    "pyramid in front": "backbone=dict(_base_.lsnet, out_indices=(0, 1, 2)), "
    "neck=[_base_.lsnet_pyramid, dict(_base_.model.neck, in_channels=[256] * 4)]",
    "maps 8-64": "backbone=_base_.lsnet, neck=dict(in_channels=_base_.lsnet_channels)",
    "maps 8-32": "backbone=dict(_base_.lsnet, out_indices=(0, 1, 2)), "
    "neck=dict(in_channels=_base_.lsnet_channels[:3])",
    "maps 32-8": "backbone=dict(_base_.lsnet, out_indices=(0, 1, 2)), "
    "neck=dict(in_channels=_base_.lsnet_channels[2::-1])",
    "map 32": "backbone=dict(_base_.lsnet, out_indices=(2,)), "
    "neck=dict(in_channels=_base_.lsnet_channels[2:3])",
    "map 32, as number": "backbone=dict(_base_.lsnet, out_indices=(2,)), "
    "neck=dict(in_channels=_base_.lsnet_channels[2])",
    "map 16, 1024 channels": "backbone=dict(_base_.lsnet, out_indices=(1,)), "
    "neck=dict(type='ChannelMapper', in_channels=[128], out_channels=1024, num_outs=1)",
    "map 16, 2048 channels": "backbone=dict(_base_.lsnet, out_indices=(1,)), "
    "neck=dict(type='ChannelMapper', in_channels=[128], out_channels=2048, num_outs=1)",
    "pixel decoder": "backbone=_base_.lsnet, panoptic_head=dict(in_channels=_base_.lsnet_channels)",
    "pixel decoder, strides": "backbone=_base_.lsnet, panoptic_head=dict("
    "in_channels=_base_.lsnet_channels, strides=[8, 16, 32, 64])",
    "SSD": "backbone=dict(_base_.lsnet, out_indices=(0, 1)), "
    "neck=dict(in_channels=(64, 128), out_channels=(64, 128, 512, 256, 256, 256)), "
    "bbox_head=dict(in_channels=(64, 128, 512, 256, 256, 256))",
    "CornerNet": "backbone=dict(_base_.lsnet, out_indices=(0, 1, 2)), "
    "neck=dict(_base_.lsnet_pyramid, _delete_=True), bbox_head=dict(num_feat_levels=1)",
    # mmseg
    "d8": "backbone=_base_.lsnet, decode_head=_base_.lsnet_d8, auxiliary_head=_base_.lsnet_d8_aux",
    "d8, DeepLabV3+": "backbone=_base_.lsnet, decode_head=dict(c1_in_channels=64, "
    "**_base_.lsnet_d8), auxiliary_head=_base_.lsnet_d8_aux",
    "d8, K-Net": "backbone=_base_.lsnet, "
    "decode_head=dict(kernel_generate_head=_base_.lsnet_d8), auxiliary_head=_base_.lsnet_d8_aux",
    "d8, three maps": "backbone=_base_.lsnet, neck=dict(type='MultiLevelNeck', "
    "in_channels=_base_.lsnet_channels, out_channels=256, scales=[1, 2, 4, 8]), "
    "decode_head=dict(in_channels=[256] * 3), auxiliary_head=dict(in_channels=256)",
    "d8, two maps": "backbone=_base_.lsnet, neck=dict(type='MultiLevelNeck', "
    "in_channels=_base_.lsnet_channels, out_channels=256, scales=[1, 2, 4, 8]), "
    "decode_head=dict(in_channels=[256] * 2), auxiliary_head=dict(in_channels=256)",
    "heads": "backbone=_base_.lsnet, decode_head=dict(in_channels=_base_.lsnet_channels), "
    "auxiliary_head=dict(in_channels=_base_.lsnet_channels[2])",
    "head": "backbone=_base_.lsnet, decode_head=dict(in_channels=_base_.lsnet_channels)",
    "head, last three": "backbone=_base_.lsnet, "
    "decode_head=dict(in_channels=_base_.lsnet_channels[1:])",
    "d8, LR-ASPP": "backbone=dict(_base_.lsnet, out_indices=(0, 1, 2)), "
    "neck=dict(type='MultiLevelNeck', in_channels=_base_.lsnet_channels[:3], out_channels=256, "
    "scales=[1, 2, 4]), decode_head=dict(in_channels=[256] * 3)",
    "JPU": "backbone=dict(_base_.lsnet, out_indices=(0, 1, 2)), "
    "neck=dict(in_channels=tuple(_base_.lsnet_channels[:3])), "
    "decode_head=dict(in_channels=[64, 128, 2048]), auxiliary_head=dict(in_channels=128)",
    # mmpretrain
    "classifier": "backbone=dict(_base_.lsnet, out_indices=(3,), norm_eval=False, resolution=4), "
    "head=dict(in_channels=_base_.lsnet_channels[3])",
    "use_in": "",
}

BOXES, MASKS, PANOPTIC, LANES = "boxes", "boxes, masks", "panoptic", "lanes"
SEMANTIC, CLASSES = "label map", "classes"
LIST = "its heads, or its neck, are a list, which configs replace as a whole: use_in"
POOLED = "the former backbone pools features itself: use_in adds a pooling neck"
IMPORTS = "it sets `custom_imports` itself, and two bases may not: use_in"


def _detectors(task: str, *rows: tuple[str, str, str], **others: Any) -> list[Case]:
    return [Case(name, f"mmdet::{path}.py", task, way, **others) for name, path, way in rows]


def _segmentors(*rows: tuple[str, str, str], **others: Any) -> list[Case]:
    return [Case(name, f"mmseg::{path}.py", SEMANTIC, way, **others) for name, path, way in rows]


def _classifiers(*rows: tuple[str, str, str], **others: Any) -> list[Case]:
    return [
        Case(name, f"mmpretrain::{path}.py", CLASSES, way, **others) for name, path, way in rows
    ]


MMDET = [
    *_detectors(
        BOXES,
        # two stages
        ("Faster R-CNN", "faster_rcnn/faster-rcnn_r50_fpn_1x_coco", "FPN, 4-64"),
        (
            "Faster R-CNN C4",
            "faster_rcnn/faster-rcnn_r50-caffe_c4-1x_coco",
            "map 16, 1024 channels",
        ),
        (
            "Faster R-CNN DC5",
            "faster_rcnn/faster-rcnn_r50-caffe-dc5_1x_coco",
            "map 16, 2048 channels",
        ),
        ("Faster R-CNN, PAFPN", "pafpn/faster-rcnn_r50_pafpn_1x_coco", "pyramid in front"),
        (
            "Faster R-CNN, FPN-CARAFE",
            "carafe/faster-rcnn_r50_fpn-carafe_1x_coco",
            "pyramid in front",
        ),
        (
            "Faster R-CNN, FPG",
            "fpg/faster-rcnn_r50_fpg-chn128_crop640-50e_coco",
            "pyramid in front",
        ),
        ("Faster R-CNN, HRNet", "hrnet/faster-rcnn_hrnetv2p-w18-1x_coco", "pyramid in front"),
        ("Cascade R-CNN", "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco", "FPN, 4-64"),
        ("Cascade RPN", "cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco", "FPN, 4-64"),
        ("CrowdDet", "crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman", "FPN, 4-64"),
        ("Double-Head R-CNN", "double_heads/dh-faster-rcnn_r50_fpn_1x_coco", "FPN, 4-64"),
        ("Dynamic R-CNN", "dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco", "FPN, 4-64"),
        ("GA-Faster R-CNN", "guided_anchoring/ga-faster-rcnn_r50_fpn_1x_coco", "FPN, 4-64"),
        ("Libra R-CNN", "libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco", "FPN, 4-64, then another"),
        ("PISA", "pisa/faster-rcnn_r50_fpn_pisa_1x_coco", "FPN, 4-64"),
        ("RPN", "rpn/rpn_r50_fpn_1x_coco", "FPN, 4-64"),
        ("SABL", "sabl/sabl-faster-rcnn_r50_fpn_1x_coco", "FPN, 4-64"),
        ("Sparse R-CNN", "sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco", "FPN, 4-32"),
        ("Grid R-CNN", "grid_rcnn/grid-rcnn_r50_fpn_gn-head_1x_coco", "FPN, 4-64"),
        # one stage, with anchors
        ("ATSS", "atss/atss_r50_fpn_1x_coco", "FPN, 8-128"),
        ("DDOD", "ddod/ddod_r50_fpn_1x_coco", "FPN, 8-128"),
        ("DyHead", "dyhead/atss_r50_fpn_dyhead_1x_coco", "FPN, 8-128, then another"),
        ("FreeAnchor", "free_anchor/freeanchor_r50_fpn_1x_coco", "FPN, 8-128"),
        ("GFL", "gfl/gfl_r50_fpn_1x_coco", "FPN, 8-128"),
        ("GHM", "ghm/retinanet_r50_fpn_ghm-1x_coco", "FPN, 8-128"),
        ("PAA", "paa/paa_r50_fpn_1x_coco", "FPN, 8-128"),
        ("RetinaNet", "retinanet/retinanet_r50_fpn_1x_coco", "FPN, 8-128"),
        ("RetinaNet, NAS-FPN", "nas_fpn/retinanet_r50_nasfpn_crop640-50e_coco", "FPN, 8-128"),
        ("TOOD", "tood/tood_r50_fpn_1x_coco", "FPN, 8-128"),
        ("YOLOF", "yolof/yolof_r50-c5_8xb8-1x_coco", "map 32, as number"),
        ("YOLOv3", "yolo/yolov3_d53_8xb8-320-273e_coco", "maps 32-8"),
        # one stage, without anchors
        ("AutoAssign", "autoassign/autoassign_r50-caffe_fpn_1x_coco", "FPN, 8-128"),
        ("CenterNet", "centernet/centernet_r18_8xb16-crop512-140e_coco", "map 32, as number"),
        ("CenterNet update", "centernet/centernet-update_r50-caffe_fpn_ms-1x_coco", "FPN, 8-128"),
        ("FCOS", "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco", "FPN, 8-128"),
        ("FoveaBox", "foveabox/fovea_r50_fpn_4xb4-1x_coco", "FPN, 8-128"),
        ("FSAF", "fsaf/fsaf_r50_fpn_1x_coco", "FPN, 8-128"),
        (
            "NAS-FCOS",
            "nas_fcos/nas-fcos_r50-caffe_fpn_nashead-gn-head_4xb4-1x_coco",
            "pyramid in front",
        ),
        ("RepPoints", "reppoints/reppoints-moment_r50_fpn_1x_coco", "FPN, 8-128"),
        ("RTMDet", "rtmdet/rtmdet_tiny_8xb32-300e_coco", "maps 8-32"),
        ("VarifocalNet", "vfnet/vfnet_r50_fpn_1x_coco", "FPN, 8-128"),
        ("YOLOX", "yolox/yolox_s_8xb8-300e_coco", "maps 8-32"),
        # queries
        ("Conditional DETR", "conditional_detr/conditional-detr_r50_8xb2-50e_coco", "map 32"),
        ("DAB-DETR", "dab_detr/dab-detr_r50_8xb2-50e_coco", "map 32"),
        ("DDQ", "ddq/ddq-detr-4scale_r50_8xb2-12e_coco", "maps 8-64"),
        ("Deformable DETR", "deformable_detr/deformable-detr_r50_16xb2-50e_coco", "maps 8-64"),
        ("DETR", "detr/detr_r50_8xb2-150e_coco", "map 32"),
        ("DINO", "dino/dino-4scale_r50_8xb2-12e_coco", "maps 8-64"),
    ),
    *_detectors(
        BOXES,
        ("CornerNet", "cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco", "CornerNet"),
        remark="its two maps are those of two networks in a row: here one, of stride 4",
    ),
    *_detectors(
        BOXES,
        ("SSD300", "ssd/ssd300_coco", "SSD"),
        side=300,
        remark="its neck and head name the channels of all levels. It trains; mmdet's SSD head "
        "reads a loss that it lacks when it predicts "
        "([mmdetection#11063](https://github.com/open-mmlab/mmdetection/issues/11063))",
    ),
    *_detectors(
        BOXES,
        ("TridentNet", "tridentnet/tridentnet_r50-caffe_1x_coco", "map 16, 1024 channels"),
        remark="its three branches are inside of its own backbone",
    ),
    *_detectors(
        BOXES,
        ("Fast R-CNN", "fast_rcnn/fast-rcnn_r50_fpn_1x_coco", "FPN, 4-64"),
        sample="proposals",
    ),
    *_detectors(
        BOXES,
        ("DetectoRS, RFP", "detectors/cascade-rcnn_r50-rfp_1x_coco", "use_in"),
        remark="its pyramid feeds maps back into its own backbone",
    ),
    *_detectors(
        MASKS,
        ("Mask R-CNN", "mask_rcnn/mask-rcnn_r50_fpn_1x_coco", "FPN, 4-64"),
        ("Mask R-CNN, Swin", "swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco", "FPN, 4-64"),
        ("Cascade Mask R-CNN", "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco", "FPN, 4-64"),
        ("GRoIE", "groie/mask-rcnn_r50_fpn_groie_1x_coco", "FPN, 4-64"),
        ("Mask Scoring R-CNN", "ms_rcnn/ms-rcnn_r50_fpn_1x_coco", "FPN, 4-64"),
        ("PointRend", "point_rend/point-rend_r50-caffe_fpn_ms-1x_coco", "FPN, 4-64"),
        ("BoxInst", "boxinst/boxinst_r50_fpn_ms-90k_coco", "FPN, 8-128"),
        ("CondInst", "condinst/condinst_r50_fpn_ms-poly-90k_coco_instance", "FPN, 8-128"),
        ("SOLO", "solo/solo_r50_fpn_1x_coco", "FPN, 4-64"),
        ("Decoupled SOLO", "solo/decoupled-solo_r50_fpn_1x_coco", "FPN, 4-64"),
        ("SOLOv2", "solov2/solov2_r50_fpn_1x_coco", "FPN, 4-64"),
        ("YOLACT", "yolact/yolact_r50_1xb8-55e_coco", "FPN, 8-128"),
        ("RTMDet-Ins", "rtmdet/rtmdet-ins_tiny_8xb32-300e_coco", "maps 8-32"),
        ("Mask2Former", "mask2former/mask2former_r50_8xb2-lsj-50e_coco", "pixel decoder, strides"),
        sample="masks",
    ),
    *_detectors(
        MASKS,
        ("QueryInst", "queryinst/queryinst_r50_fpn_1x_coco", "FPN, 4-32"),
        sample="masks",
        settings={"roi_head.bbox_head.5.bbox_coder.clip_border": True},
        remark="on CPUs it needs `--cfg-options "
        "model.roi_head.bbox_head.5.bbox_coder.clip_border=True`: there mmdet cannot paste the "
        "mask of a box beyond the image, which QueryInst does not clip",
    ),
    *_detectors(
        MASKS,
        ("HTC", "htc/htc_r50_fpn_1x_coco", "FPN, 4-64"),
        ("SCNet", "scnet/scnet_r50_fpn_1x_coco", "FPN, 4-64"),
        sample="masks, semantic8",
    ),
    *_detectors(
        PANOPTIC,
        ("Panoptic FPN", "panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco", "FPN, 4-64"),
        ("MaskFormer", "maskformer/maskformer_r50_ms-16xb1-75e_coco", "pixel decoder"),
        (
            "Mask2Former, panoptic",
            "mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic",
            "pixel decoder, strides",
        ),
        sample="masks, semantic",
    ),
    *_detectors(
        LANES,
        ("CLRNet", "clrnet/clrnet", "use_in"),
        sample="lanes",
        settings={"head.img_w": 128, "head.img_h": 128},
        remark=IMPORTS,
    ),
]

MMSEG = [
    *_segmentors(
        ("APCNet", "apcnet/apcnet_r50-d8_4xb4-80k_ade20k-512x512", "d8"),
        ("CCNet", "ccnet/ccnet_r50-d8_4xb4-80k_ade20k-512x512", "d8"),
        ("DANet", "danet/danet_r50-d8_4xb4-80k_ade20k-512x512", "d8"),
        ("DeepLabV3", "deeplabv3/deeplabv3_r50-d8_4xb4-80k_ade20k-512x512", "d8"),
        (
            "DeepLabV3+",
            "deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512",
            "d8, DeepLabV3+",
        ),
        ("DMNet", "dmnet/dmnet_r50-d8_4xb4-80k_ade20k-512x512", "d8"),
        ("DNLNet", "dnlnet/dnl_r50-d8_4xb4-80k_ade20k-512x512", "d8"),
        ("EMANet", "emanet/emanet_r50-d8_4xb2-80k_cityscapes-512x1024", "d8"),
        ("FCN", "fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512", "d8"),
        ("GCNet", "gcnet/gcnet_r50-d8_4xb4-80k_ade20k-512x512", "d8"),
        ("ISANet", "isanet/isanet_r50-d8_4xb4-80k_ade20k-512x512", "d8"),
        ("Non-local Net", "nonlocal_net/nonlocal_r50-d8_4xb4-80k_ade20k-512x512", "d8"),
        ("PSANet", "psanet/psanet_r50-d8_4xb4-80k_ade20k-512x512", "d8"),
        ("PSPNet", "pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512", "d8"),
        ("K-Net", "knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512", "d8, K-Net"),
        ("FastFCN", "fastfcn/fastfcn_r50-d32_jpu_enc_4xb4-80k_ade20k-512x512", "JPU"),
        ("FCN, HRNet", "hrnet/fcn_hr18_4xb4-80k_ade20k-512x512", "head"),
        ("MaskFormer", "maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512", "head"),
        ("PointRend", "point_rend/pointrend_r50_4xb4-160k_ade20k-512x512", "maps 8-64"),
        ("SegFormer", "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512", "head"),
        ("SegNeXt", "segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512", "head, last three"),
        ("Semantic FPN", "sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512", "maps 8-64"),
        ("UPerNet", "upernet/upernet_r50_4xb4-80k_ade20k-512x512", "heads"),
        (
            "UPerNet, Swin",
            "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512",
            "heads",
        ),
    ),
    *_segmentors(
        ("Mask2Former", "mask2former/mask2former_r50_8xb2-160k_ade20k-512x512", "use_in"),
        (
            "UPerNet, ConvNeXt",
            "convnext/convnext-small_upernet_8xb2-amp-160k_ade20k-512x512",
            "use_in",
        ),
        remark=IMPORTS,
    ),
    *_segmentors(("OCRNet", "ocrnet/ocrnet_hr18_4xb4-80k_ade20k-512x512", "use_in"), remark=LIST),
    *_segmentors(
        ("OCRNet, d8", "ocrnet/ocrnet_r101-d8_8xb2-40k_cityscapes-512x1024", "use_in"), remark=LIST
    ),
    *_segmentors(
        ("ANN", "ann/ann_r50-d8_4xb4-80k_ade20k-512x512", "d8, two maps"),
        ("EncNet", "encnet/encnet_r50-d8_4xb4-80k_ade20k-512x512", "d8, three maps"),
        remark="it reads several dilated maps: a neck brings LSNet's to stride 8",
    ),
    *_segmentors(
        (
            "LR-ASPP",
            "mobilenet_v3/mobilenet-v3-d8_lraspp_4xb4-320k_cityscapes-512x1024",
            "d8, LR-ASPP",
        ),
        side=512,
        remark="it pools 49 cells of a map at stride 8: a neck brings LSNet's there",
    ),
    *_segmentors(
        ("BiSeNetV1", "bisenetv1/bisenetv1_r50-d32_4xb4-160k_cityscapes-1024x1024", "use_in"),
        ("SETR", "setr/setr_vit-l-mla_8xb1-160k_ade20k-512x512", "use_in"),
        remark="the network is its backbone",
    ),
]

MMPRETRAIN = [
    *_classifiers(
        ("Linear head", "resnet/resnet50_8xb32_in1k", "classifier"),
        ("Linear head, mixup", "resnet/resnet50_8xb32-mixup_in1k", "classifier"),
        ("Stacked linear head", "mobilenet_v3/mobilenet-v3-large_8xb128_in1k", "classifier"),
        ("CSRA (several labels)", "csra/resnet101-csra_1xb16_voc07-448px", "classifier"),
        ("Linear head, Swin", "swin_transformer/swin-tiny_16xb64_in1k", "classifier"),
        ("Linear head, EfficientNet", "efficientnet/efficientnet-b0_8xb32_in1k", "classifier"),
    ),
    *_classifiers(
        ("Linear head, ConvNeXt", "convnext/convnext-tiny_32xb128_in1k", "use_in"),
        remark=POOLED,
    ),
    *_classifiers(
        ("ViT's head", "vision_transformer/vit-base-p16_64xb64_in1k", "use_in"),
        settings={"head.init_cfg": dict(type="TruncNormal", layer="Linear", std=0.02)},
        remark=f"{POOLED}. The head starts at zero, so that gradients reach the backbone from the "
        "second step on: here it is random",
    ),
]

CASES = [*MMDET, *MMSEG, *MMPRETRAIN]
