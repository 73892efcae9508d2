"""Vision transformers whose tokens are convolved instead of attending to each other."""

from typing import Any

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from lsnet_mm.deploy import export_onnx, fold, load
from lsnet_mm.models import LSConv
from tests import golden
from tests.conftest import exports

TINY = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=24)


def vit(kind: str = "LSConvVisionTransformer", **options: Any) -> nn.Module:
    init_default_scope("mmpretrain")
    usual = dict(type=kind, arch=TINY, img_size=32, patch_size=8)
    model = golden.fill(MODELS.build({**usual, **options}))
    model.eval()  # mmpretrain's backbones return nothing here
    return model


@torch.no_grad()
@pytest.mark.parametrize("final_norm", [False, True])
def test_is_a_vit_with_convolutions(final_norm):
    """Written out on the map, position by position where it is no convolution."""
    model = vit(final_norm=final_norm)
    x = torch.randn(2, 3, 32, 32)
    tokens = model.patch_embed.projection(x).flatten(2).mT + model.pos_embed
    for layer in model.layers:
        grid = layer.ln1(tokens).mT.reshape(2, 16, 4, 4)
        tokens = tokens + layer.attn.conv(grid).flatten(2).mT
        hidden, out = layer.ffn.layers[0][0], layer.ffn.layers[1]
        tokens = tokens + out(nn.functional.gelu(hidden(layer.ln2(tokens))))
    if final_norm:
        tokens = model.ln1(tokens)
    (got,) = model(x)
    torch.testing.assert_close(got, model.ln2(tokens.mean(1)))


@torch.no_grad()
def test_images_are_filled_up_to_whole_patches():
    model = vit(out_type="featmap")
    x = torch.randn(1, 3, 37, 30)
    (got,) = model(x)
    assert got.shape == (1, 16, 5, 4)
    torch.testing.assert_close(got, model(nn.functional.pad(x, (0, 2, 0, 3)))[0])


@torch.no_grad()
def test_tokens_keep_their_places_on_maps_of_any_size():
    model = vit(out_type="featmap", out_indices=[0, 1])
    outs = model(torch.randn(1, 3, 40, 72))
    assert [tuple(o.shape) for o in outs] == [(1, 16, 5, 9)] * 2
    raw = vit(out_type="raw", out_indices=[0])
    x = torch.randn(1, 3, 32, 48)
    maps = vit(out_type="featmap", out_indices=[0])(x)[0]
    torch.testing.assert_close(raw(x)[0], maps.flatten(2).mT)


def test_has_the_names_of_a_vit_without_class_token():
    plain = dict(out_type="avg_featmap", with_cls_token=False, final_norm=False)
    ours, theirs = (set(m.state_dict()) for m in (vit(), vit("VisionTransformer", **plain)))
    assert {k for k in ours if ".attn.conv." not in k} == {k for k in theirs if ".attn." not in k}
    assert all(layer.attn.conv.lkp.taps == 25 for layer in vit(ls_conv=dict(small_kernel=5)).layers)


def test_gradients_reach_every_parameter_and_depth_is_dropped():
    model = vit(drop_path_rate=0.5)
    model.train()
    rates = [layer.attn.out_drop.drop_prob for layer in model.layers]
    assert rates == [layer.ffn.dropout_layer.drop_prob for layer in model.layers] == [0, 0.5]
    for layer in model.layers:
        layer.attn.out_drop.drop_prob = layer.ffn.dropout_layer.drop_prob = 0
    model(torch.randn(4, 3, 32, 32))[0].square().mul(torch.rand(16)).mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("options", [dict(with_cls_token=True), dict(out_type="cls_token")])
def test_there_is_no_class_token(options):
    with pytest.raises(ValueError, match="cls"):
        vit(**options)


@torch.no_grad()
def test_compiles_and_folds():
    model = vit()
    x = torch.randn(2, 3, 32, 32)
    (want,) = model(x)
    graphs = CompileCounterWithBackend("eager")
    whole = torch.__version__ >= (2, 5)  # 2.4 cannot look into mmengine's decorators
    torch.testing.assert_close(torch.compile(model, fullgraph=whole, backend=graphs)(x)[0], want)
    assert graphs.frame_count == 1 or not whole
    torch.testing.assert_close(fold(model)(x)[0], want, rtol=1e-4, atol=1e-4)
    layers = [m for m in model.modules() if isinstance(m, LSConv)]
    assert [type(layer.lkp.cv1) for layer in layers] == [nn.Conv2d] * 2


@exports
@torch.no_grad()
def test_exports(tmp_path):
    model = vit()
    sample = torch.randn(2, 3, 48, 40)
    path = export_onnx(model, sample, tmp_path / "vit.onnx", dynamic_size=True)
    runtime = load(path, threads=1)
    for size in ((32, 32), (40, 64), (37, 30)):  # a place for each token, others, and filled up
        y = torch.randn(3, 3, *size)
        (got,) = runtime(y.numpy())
        torch.testing.assert_close(torch.from_numpy(got), model(y)[0], rtol=1e-4, atol=1e-4)
