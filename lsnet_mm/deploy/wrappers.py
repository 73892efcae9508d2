"""Whole networks as modules from image tensors to plain outputs, one for each task."""

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from lsnet_mm.errors import InputError

Levels = Sequence[Tensor]


class ClassifierGraph(nn.Module):
    """mmpretrain's classifier: images (N, 3, H, W) to probabilities (N, classes)."""

    outputs = ("scores",)

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return self.model(images).softmax(1)


class SegmentorGraph(nn.Module):
    """mmseg's encoder-decoder: images (N, 3, H, W) to classes (N, H, W) int64.

    Args:
        model: The network; its ``test_cfg`` may be for the whole image or for windows, the graph is
            of one or the other.
        logits: Return logits (N, classes, H, W) too.
    """

    def __init__(self, model: nn.Module, logits: bool = False) -> None:
        super().__init__()
        self.model = model
        self.outputs = ("labels", "logits") if logits else ("labels",)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """See the class."""
        head = self.model.decode_head
        logits = F.interpolate(
            head(self.model.extract_feat(images)),
            size=images.shape[2:],
            mode="bilinear",
            align_corners=head.align_corners,
        )
        if logits.shape[1] == 1:
            labels = (logits[:, 0].sigmoid() > head.threshold).long()
        else:
            labels = logits.argmax(1)
        return (labels, logits) if len(self.outputs) > 1 else labels


class RetinaNetGraph(nn.Module):
    """mmdet's single-stage detector with anchors, NMS included, for one image.

    ``forward(images, size, scale)`` takes an image (1, 3, H, W), its height and width without
    padding (2,) and the factors across and down by which it was resized (2,), all float32. It
    returns the D = ``max_per_img`` best boxes (D, 4) in the original image's pixels, scores (D,)
    and labels (D,) int64, best first; scores of 0 fill up what was not found.
    """

    outputs = ("boxes", "scores", "labels")

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.cfg = model.test_cfg
        _check_nms(self.cfg)

    def forward(self, images: Tensor, size: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        maps = self.model.extract_feat(images)
        boxes, scores, labels, _ = candidates(self.model.bbox_head, maps, self.cfg, size)
        boxes = boxes / scale.repeat(2)
        scores = scores * _larger(boxes, self.cfg)
        return best(boxes, scores, labels, self.cfg, self.cfg.score_thr)


class MaskRCNNGraph(nn.Module):
    """mmdet's Mask R-CNN or Faster R-CNN, NMS included, for one image.

    As :class:`RetinaNetGraph`; with masks there is a fourth output, each box's mask probabilities
    (D, M, M) on an even grid over the box, 28 x 28 as published. Pasting them into the image is
    left to :func:`lsnet_mm.deploy.runtime.paste_masks`: in the graph it would take as much memory
    as D images.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.proposals, self.cfg = model.test_cfg.rpn, model.test_cfg.rcnn
        for cfg in (self.proposals, self.cfg):
            _check_nms(cfg)
        masks = ("masks",) if model.roi_head.with_mask else ()
        self.outputs = ("boxes", "scores", "labels", *masks)

    def forward(self, images: Tensor, size: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        maps = self.model.extract_feat(images)
        rois, found = self._propose(maps, size)
        boxes, scores, labels = self._detect(maps, rois, found, size)
        original = boxes / scale.repeat(2)
        if len(self.outputs) == 3:
            return original, scores, labels
        roi_head = self.model.roi_head
        logits = roi_head.mask_head(pool(roi_head.mask_roi_extractor, maps, boxes))
        if roi_head.mask_head.class_agnostic:
            return original, scores, labels, logits[:, 0].sigmoid()
        chosen = labels[:, None, None, None].expand(-1, 1, *logits.shape[2:])
        return original, scores, labels, logits.gather(1, chosen)[:, 0].sigmoid()

    def _propose(self, maps: Levels, size: Tensor) -> tuple[Tensor, Tensor]:
        """Proposals (P, 4) in pixels of the resized image and which were found, bool (P,)."""
        cfg = self.proposals
        boxes, scores, _, levels = candidates(self.model.rpn_head, maps, cfg, size)
        boxes, scores, _ = best(boxes, scores * _larger(boxes, cfg), levels, cfg, 0.0)
        return boxes, scores > 0

    def _detect(self, maps: Levels, rois: Tensor, found: Tensor, size: Tensor) -> tuple:
        """Boxes (D, 4) in pixels of the resized image, scores (D,), labels (D,)."""
        roi_head = self.model.roi_head
        head = roi_head.bbox_head
        logits, deltas = head(pool(roi_head.bbox_roi_extractor, maps, rois))
        scores = logits.softmax(1)[:, :-1] * found[:, None]
        classes = scores.shape[1]
        boxes = _clip(head.bbox_coder, head.bbox_coder.decode(rois, deltas), size)
        boxes = boxes.reshape(len(rois), -1, 4).expand(-1, classes, -1).reshape(-1, 4)
        scores = scores.flatten()
        index = (scores > self.cfg.score_thr).nonzero()[:, 0]
        return best(boxes[index], scores[index], index % classes, self.cfg, self.cfg.score_thr)


def graph(model: nn.Module, logits: bool = False) -> nn.Module:
    """Wrap a model of mmpretrain, mmseg or mmdet for export.

    Args:
        model: In eval mode.
        logits: Of a segmentor: give logits beside labels.

    Raises:
        InputError: If it is of a kind that cannot be exported.
    """
    if hasattr(model, "roi_head") and hasattr(model, "rpn_head"):
        return MaskRCNNGraph(model)
    if hasattr(model, "bbox_head") and hasattr(model.bbox_head, "prior_generator"):
        return RetinaNetGraph(model)
    if hasattr(model, "decode_head"):
        return SegmentorGraph(model, logits)
    if hasattr(model, "head") and hasattr(model, "backbone"):
        return ClassifierGraph(model)
    raise InputError(
        f"{type(model).__name__} cannot be exported: classifiers, encoder-decoder segmentors, "
        "single-stage detectors with anchors, Faster and Mask R-CNN can"
    )


def candidates(head: nn.Module, maps: Levels, cfg: dict, size: Tensor) -> tuple[Tensor, ...]:
    """The best ``nms_pre`` boxes of every level of an anchor head, clipped to the image.

    Args:
        head: RetinaNet's or an RPN's head of mmdet.
        maps: Its inputs, (1, C, H_i, W_i).
        cfg: The head's ``test_cfg``.
        size: The image's height and width, (2,).

    Returns:
        Boxes (K, 4), scores (K,), labels (K,) and levels (K,), K = levels * ``nms_pre``; scores
        of 0 fill up levels that are smaller.
    """
    found = []
    for level, (logits, deltas) in enumerate(zip(*head(maps), strict=True)):
        anchors = head.prior_generator.single_level_grid_priors(
            logits.shape[2:], level, device=logits.device
        )
        logits = logits[0].permute(1, 2, 0).reshape(-1, head.cls_out_channels)
        scores = logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(1)[:, :-1]
        classes = scores.shape[1]
        # Filled up, so that K does not depend on the size of the map.
        scores, index = F.pad(scores.flatten(), (0, cfg.nms_pre)).topk(cfg.nms_pre)
        anchor = (index // classes).clamp(max=anchors.shape[0] - 1)
        deltas = deltas[0].permute(1, 2, 0).reshape(-1, 4)[anchor]
        boxes = _clip(head.bbox_coder, head.bbox_coder.decode(anchors[anchor], deltas), size)
        found.append((boxes, scores, index % classes, torch.full_like(index, level)))
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def best(
    boxes: Tensor, scores: Tensor, labels: Tensor, cfg: dict, score_thr: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The best ``max_per_img`` boxes after NMS among those of equal label.

    Args:
        boxes: (K, 4).
        scores: (K,), 0 to 1.
        labels: (K,).
        cfg: With ``nms.iou_threshold`` and ``max_per_img``.
        score_thr: Boxes of scores up to it are not found.

    Returns:
        Boxes (D, 4), scores (D,) and labels (D,), best first. Where there are fewer, scores are 0.
    """
    count = cfg["max_per_img"]
    boxes, scores = F.pad(boxes, (0, 0, 0, count)), F.pad(scores, (0, count))
    labels = F.pad(labels, (0, count))
    valid = scores > score_thr
    # Labels lie apart, as in mmcv's batched_nms. What is not valid lies on one spot: the first of
    # it suppresses the others, which keeps NMS short.
    apart = boxes + (labels * (boxes.max() + 1))[:, None]
    spot = (boxes.min() - 2) + boxes.new_tensor([0, 0, 1, 1])
    scores = scores * valid
    apart = torch.where(valid[:, None], apart, spot)
    keep = torchvision.ops.nms(apart, scores, cfg["nms"]["iou_threshold"])
    kept = torch.zeros_like(scores).index_put((keep,), scores.new_ones(()))
    scores, index = (scores * kept).topk(count)
    return boxes[index], scores, labels[index]


def pool(extractor: nn.Module, maps: Levels, boxes: Tensor) -> Tensor:
    """mmdet's SingleRoIExtractor for one image: (R, 4) boxes to (R, C, size, size)."""
    rois = F.pad(boxes, (1, 0))  # image 0
    layers = extractor.roi_layers
    level = extractor.map_roi_levels(rois, len(layers))
    pooled = maps[0].new_zeros(len(boxes), maps[0].shape[1], *layers[0].output_size)
    for i, layer in enumerate(layers):
        index = (level == i).nonzero()[:, 0]
        values = torchvision.ops.roi_align(
            maps[i],
            rois[index],
            layer.output_size,
            layer.spatial_scale,
            max(layer.sampling_ratio, 0),
            layer.aligned,
        )
        pooled = pooled.index_put((index,), values)
    return pooled


def _clip(coder: nn.Module, boxes: Tensor, size: Tensor) -> Tensor:
    """Boxes (K, 4 * boxes) inside an image of ``size`` (height, width), if the coder clips."""
    if not coder.clip_border:
        return boxes
    limits = size.flip(0).repeat(boxes.shape[1] // 2)
    return torch.minimum(boxes.clamp(min=0), limits)


def _larger(boxes: Tensor, cfg: dict) -> Tensor:
    """Which boxes are larger than ``min_bbox_size``, bool (K,)."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return (sides > cfg.get("min_bbox_size", -1)).all(1)


def _check_nms(cfg: dict) -> None:
    nms = cfg["nms"]
    if nms.get("type", "nms") != "nms" or nms.get("class_agnostic"):
        raise InputError(f"only plain NMS within each class can be exported, got nms={dict(nms)}")
