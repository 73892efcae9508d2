"""The LS convolution in mm's ResNets: as a plug-in, and in the place of their convolutions."""

from typing import Any

import pytest
import torch
from mmcv.cnn.bricks.plugin import build_plugin_layer
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from lsnet_mm.deploy import export_onnx, fold, load
from lsnet_mm.deploy.rewrite import StaticLSConv, rewrite
from lsnet_mm.models import LSConv, LSConv2d
from tests import golden
from tests.conftest import exports

AFTER = {f"after_conv{i}": i for i in (1, 2, 3)}


def resnet(library: str, **options: Any) -> nn.Module:
    """A narrow ResNet-50 of two stages, in training mode."""
    narrow = dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1))
    usual = dict(type="ResNet", depth=50, base_channels=8, stem_channels=8, **narrow)
    init_default_scope(library)
    return MODELS.build({**usual, **options})


def plugin(position: str = "after_conv2", **cfg: Any) -> dict:
    return dict(cfg=dict(type="LSConv", **cfg), stages=(False, True), position=position)


@pytest.mark.parametrize("library", ["mmdet", "mmseg"])
@pytest.mark.parametrize("position", AFTER)
def test_plugin_is_built_named_reached_and_trained(library, position):
    model = resnet(library, plugins=[plugin(position, small_kernel=5)], norm_eval=False)
    for block in model.layer2:
        layer = block.ls_conv
        assert isinstance(layer, LSConv)
        assert layer.bn.num_features == (64 if position == "after_conv3" else 16)
        assert layer.lkp.taps == 25
    ours = {k for k in model.state_dict() if ".ls_conv." in k}
    assert model.state_dict().keys() - ours == resnet(library).state_dict().keys()
    assert {k.split(".ls_conv.")[0] for k in ours} == {f"layer2.{i}" for i in range(4)}

    called = []
    for name, module in model.layer2[1].named_children():
        module.register_forward_hook(lambda *_, name=name: called.append(name))
    outs = model(torch.randn(2, 3, 64, 96))
    assert [tuple(o.shape) for o in outs] == [(2, 32, 16, 24), (2, 64, 8, 12)]
    before, after = f"bn{AFTER[position]}", f"conv{AFTER[position] + 1}"
    here = called.index("ls_conv")
    assert called.index(before) < here
    assert after not in called or here < called.index(after)

    golden.fill(model)
    sum(o.square().mean() for o in model(torch.randn(2, 3, 64, 96))).backward()
    for key, parameter in model.named_parameters():
        if ".ls_conv." in key:
            assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("library", ["mmdet", "mmseg"])
def test_an_identity_leaves_a_pretrained_network_as_it_was(library, tmp_path):
    plain = golden.fill(resnet(library))
    torch.save(plain.state_dict(), tmp_path / "resnet.pth")
    model = resnet(
        library,
        plugins=[plugin(bn_weight=0)],
        init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "resnet.pth")),
    )
    model.init_weights()
    x = torch.randn(1, 3, 64, 64)
    for network in (model, plain):
        network.eval()
    for got, want in zip(model(x), plain(x), strict=True):
        torch.testing.assert_close(got, want)


def test_two_at_one_position_are_told_apart_by_postfix():
    model = resnet("mmdet", plugins=[plugin(postfix="_a"), plugin(postfix="_b", large_kernel=3)])
    block = model.layer2[0]
    assert block.after_conv2_plugin_names == ["ls_conv_a", "ls_conv_b"]
    assert block.ls_conv_b.lkp.cv2.c.kernel_size == (3, 3)


def test_builds_by_mmcv_in_every_scope():
    for library in ("mmdet", "mmseg", "mmpretrain", "mmengine"):
        init_default_scope(library)
        name, layer = build_plugin_layer(dict(type="LSConv"), postfix=1, in_channels=16)
        assert (name, type(layer)) == ("ls_conv1", LSConv)


def test_channels_that_do_not_fit_are_refused_by_name():
    with pytest.raises(ValueError, match="multiple of group_size 12, got 16"):
        resnet("mmdet", plugins=[plugin(group_size=12)])


@pytest.mark.parametrize("library", ["mmdet", "mmseg", "mmpretrain"])
def test_replaces_every_3x3_convolution_of_the_bottlenecks(library):
    model = resnet(library, conv_cfg=dict(type="LSConv2d", large_kernel=5))
    for name, module in model.named_modules():
        if name.endswith("conv2"):
            assert isinstance(module, LSConv2d), name
            assert module.ls_conv.lkp.cv2.c.kernel_size == (5, 5)
    plain = resnet(library)
    convs = {k for k in plain.state_dict() if "conv2.weight" in k}
    ours = {k for k in model.state_dict() if ".conv2.ls_conv." in k}
    assert len(convs) == 7
    assert model.state_dict().keys() - ours == plain.state_dict().keys() - convs
    outs = model(torch.randn(2, 3, 70, 96))
    for got, want in zip(outs, plain(torch.randn(2, 3, 70, 96)), strict=True):
        assert got.shape == want.shape
    outs[-1].square().mean().backward()
    assert model.layer1[0].conv2.ls_conv.lkp.cv4.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("library", ["mmdet", "mmseg"])
def test_replaces_convolutions_of_chosen_stages_as_dcn(library):
    options = dict(dcn=dict(type="LSConv2d"), stage_with_dcn=(False, True))
    model = resnet(library, **options)
    assert all(type(block.conv2) is nn.Conv2d for block in model.layer1)
    assert all(isinstance(block.conv2, LSConv2d) for block in model.layer2)


def test_replaces_those_of_small_resnets_and_deep_stems():
    init_default_scope("mmpretrain")
    model = MODELS.build(dict(type="ResNetV1d", depth=18, conv_cfg=dict(type="LSConv2d")))
    assert [type(m.conv) for m in model.stem] == [nn.Conv2d, LSConv2d, nn.Conv2d]
    assert [type(c) for c in (model.layer2[0].conv1, model.layer2[0].conv2)] == [
        nn.Conv2d,  # doubles the channels
        LSConv2d,
    ]


def test_dilated_networks_are_told_what_to_set():
    with pytest.raises(ValueError, match=r"got dilation \(2, 2\).* ResNets take strides="):
        resnet("mmseg", strides=(1, 1), dilations=(1, 2), conv_cfg=dict(type="LSConv2d"))


def resnet_of_both() -> nn.Module:
    """A ResNet of one stage with LS convolutions in place of its own and as plug-ins."""
    one = dict(num_stages=1, strides=(2,), dilations=(1,), out_indices=(0,))
    plugins = [dict(cfg=dict(type="LSConv"), position="after_conv3")]
    model = resnet("mmdet", plugins=plugins, conv_cfg=dict(type="LSConv2d"), **one)
    model.eval()
    golden.fill(model)
    for layer in model.modules():
        if isinstance(layer, LSConv):  # else what they add grows from layer to layer
            layer.bn.weight *= 0.2
    return model


def check(got: torch.Tensor, want: torch.Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4 * want.std().item())


@torch.no_grad()
def test_folds_within_another_backbone():
    model, x = resnet_of_both(), torch.randn(2, 3, 72, 104)
    (want,) = model(x)
    changed = rewrite(model, (x,), fixed_size=True)
    kinds = [type(m) for m in changed.modules()]
    assert (kinds.count(LSConv), kinds.count(StaticLSConv)) == (0, 6)
    check(changed(x)[0], want)
    check(fold(model)(x)[0], want)
    layers = [m for m in model.modules() if isinstance(m, LSConv)]
    assert all(type(layer.lkp.cv1) is nn.Conv2d for layer in layers)


@exports
@torch.no_grad()
def test_exports_within_another_backbone(tmp_path):
    """The graph holds standard operators alone."""
    model, x = resnet_of_both(), torch.randn(2, 3, 72, 104)
    path = export_onnx(model, x, tmp_path / "resnet.onnx", dynamic_size=True)
    import onnx

    graph = onnx.load(path)
    assert {node.domain for node in graph.graph.node} == {""}
    assert not graph.functions
    runtime = load(path, threads=1)
    for images in (x, torch.randn(3, 3, 65, 130)):
        check(torch.from_numpy(runtime(images.numpy())[0]), model(images)[0])
