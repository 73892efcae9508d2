"""Whole networks under torch.compile: one graph, any size, the same numbers."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch._dynamo.testing import CompileCounterWithBackend

from tests.conftest import ROOT

SIZES = ((128, 160), (192, 128), (160, 320), (256, 256))
# One block of each kind: tracing takes seconds per block.
BACKBONE = dict(
    type="LSNet",
    arch=dict(channels=(16, 16, 16, 16), depths=(0, 2, 0, 2)),
    resolution=4,
)
CLASSIFIER = dict(
    type="ImageClassifier",
    backbone=dict(BACKBONE, out_indices=(3,), norm_eval=False),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LSNetClsHead", in_channels=16, num_classes=10),
)


def segmentor() -> dict:
    cfg = Config.fromfile(ROOT / "tests/configs/tiny_fpn_shapes.py").model
    cfg.backbone = BACKBONE
    cfg.neck.in_channels = [16] * 4
    cfg.decode_head.dropout_ratio = 0  # compiled and eager would draw different numbers
    cfg.decode_head.norm_cfg = dict(type="BN")
    return cfg


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("scope", "model"), [("mmpretrain", CLASSIFIER), ("mmseg", segmentor())])
def test_compiles_whole_without_a_graph_per_size(scope, model, training):
    init_default_scope(scope)
    model = MODELS.build(copy.deepcopy(model)).train(training)
    graphs = CompileCounterWithBackend("eager")
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=graphs)
    for height, width in SIZES:
        x = torch.randn(2, 3, height, width)
        results = [_run(network, x, training) for network in (compiled, model)]
        for got, want in zip(*results, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-5)
    # torch 2.4 cannot check what it assumed of mmseg's Upsample, which computes int(size * 2.0).
    anew = torch.__version__ < (2, 5) and scope == "mmseg"
    assert graphs.frame_count == (len(SIZES) if anew else 1)


def _run(network: torch.nn.Module, x: torch.Tensor, training: bool) -> list[torch.Tensor]:
    """Outputs and, in training, the gradient of the stem's first weights."""
    with torch.set_grad_enabled(training):
        output = network(x)
    if not training:
        return [output]
    stem = network.backbone.patch_embed[0].c.weight
    (gradient,) = torch.autograd.grad(output.square().mean(), stem)
    return [output, gradient]
