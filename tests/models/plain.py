"""LSNet and LSNetFPN from their weights alone, in functions of torch, none of them ours.

``p`` is a state dict, of the network or, by :func:`part`, of a layer.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]


def part(p: Weights, *names: str | int) -> Weights:
    """The weights of the layer called ``names``, one within the other."""
    prefix = "".join(f"{name}." for name in names)
    return {k.removeprefix(prefix): v for k, v in p.items() if k.startswith(prefix)}


def norm(p: Weights, x: Tensor, training: bool) -> Tensor:
    """BatchNorm by its own statistics or, in training, by those of ``x``."""
    mean, var = p["running_mean"].clone(), p["running_var"].clone()
    return F.batch_norm(x, mean, var, p["weight"], p["bias"], training)


def conv_bn(p: Weights, x: Tensor, training: bool, stride: int = 1) -> Tensor:
    """Convolution that keeps the map's size or halves it, then BatchNorm."""
    weight = p["c.weight"]
    groups = x.shape[1] // weight.shape[1]
    y = F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2, groups=groups)
    return norm(part(p, "bn"), y, training)


def ls_conv(p: Weights, x: Tensor, training: bool, group_size: int = 8) -> Tensor:
    """The LS convolution, its neighbourhoods copied out by unfold."""
    n, channels, height, width = x.shape
    sets = channels // group_size
    y = F.relu(conv_bn(part(p, "lkp", "cv1"), x, training))
    y = conv_bn(part(p, "lkp", "cv2"), y, training)
    y = F.relu(conv_bn(part(p, "lkp", "cv3"), y, training))
    y = F.conv2d(y, p["lkp.cv4.weight"], p["lkp.cv4.bias"])
    y = F.group_norm(y, sets, p["lkp.norm.weight"], p["lkp.norm.bias"])
    size = round((y.shape[1] / sets) ** 0.5)
    kernels = y.reshape(n, 1, sets, size**2, height, width)
    patches = F.unfold(x, size, padding=size // 2)
    patches = patches.reshape(n, group_size, sets, size**2, height, width)
    return norm(part(p, "bn"), (patches * kernels).sum(3).reshape(x.shape), training) + x


def attention(p: Weights, x: Tensor, training: bool, heads: int = 4, key_dim: int = 16) -> Tensor:
    """Scores, bias, softmax and sum, head by head; and the residual."""
    n, channels, height, width = x.shape
    table = p["attention_biases"]
    side = torch.arange(round(table.shape[1] ** 0.5))
    rows, columns = (t.flatten() for t in torch.meshgrid(side, side, indexing="ij"))
    apart = [(t[:, None] - t[None, :]).abs() for t in (rows, columns)]
    bias = table[:, apart[0] * len(side) + apart[1]]
    bias = F.interpolate(bias[None], size=(height * width,) * 2, mode="bicubic")[0]
    keys = heads * key_dim
    q, k, v = conv_bn(part(p, "qkv"), x, training).split([keys, keys, channels], 1)
    q = conv_bn(part(p, "dw"), q, training)
    outs = []
    for head, of in enumerate(zip(*(t.flatten(2).chunk(heads, 1) for t in (q, k, v)), strict=True)):
        scores = of[0].mT @ of[1] / key_dim**0.5 + bias[head]
        outs.append(of[2] @ scores.softmax(2).mT)
    y = F.relu(torch.cat(outs, 1).reshape(n, channels, height, width))
    return conv_bn(part(p, "proj", 1), y, training) + x


def block(p: Weights, x: Tensor, training: bool) -> Tensor:
    """Mixer, of the kind that the weights' names tell, and FFN."""
    mixer = part(p, "mixer")
    if "m.attention_biases" in mixer:
        x = attention(part(mixer, "m"), x, training)
    elif "lkp.cv1.c.weight" in mixer:
        x = ls_conv(mixer, x, training)
    else:
        branches = [conv_bn(part(mixer, name), x, training) for name in ("conv", "conv1")]
        x = sum(branches) + x
        scale = x.mean((2, 3), keepdim=True)
        scale = F.relu(F.conv2d(scale, p["se.fc1.weight"], p["se.fc1.bias"]))
        x = x * F.conv2d(scale, p["se.fc2.weight"], p["se.fc2.bias"]).sigmoid()
    hidden = F.relu(conv_bn(part(p, "ffn", "m", "pw1"), x, training))
    return conv_bn(part(p, "ffn", "m", "pw2"), hidden, training) + x


def lsnet(p: Weights, x: Tensor, training: bool = False) -> list[Tensor]:
    """Images to the maps of all stages that there are weights of."""
    for i in (0, 2, 4):
        x = conv_bn(part(p, "patch_embed", i), x, training, stride=2)
        x = F.relu(x) if i < 4 else x
    maps = []
    for stage in sorted({name.split(".")[0] for name in p} - {"patch_embed"} | {"blocks1"}):
        layers = part(p, stage)
        for i in range(len({name.split(".")[0] for name in layers})):
            layer = part(layers, i)
            if "c.weight" in layer:  # between stages: a depthwise one with stride 2, and 1x1
                x = conv_bn(layer, x, training, stride=2 if i == 0 else 1)
            else:
                x = block(layer, x, training)
        maps.append(x)
    return maps


def conv_module(p: Weights, x: Tensor, stride: int = 1, act: bool = False) -> Tensor:
    """mmcv's ConvModule: convolution, BatchNorm by its statistics if it has one, ReLU or not."""
    weight = p["conv.weight"]
    x = F.conv2d(x, weight, p.get("conv.bias"), stride, weight.shape[2] // 2)
    return finish(p, x, act)


def finish(p: Weights, x: Tensor, act: bool) -> Tensor:
    """What ConvModule does after its convolution."""
    x = norm(part(p, "bn"), x, False) if "bn.weight" in p else x
    return F.relu(x) if act else x


def fpn(
    p: Weights,
    inputs: Sequence[Tensor],
    num_outs: int,
    num_extra_trans_convs: int = 0,
    start_level: int = 0,
    add_extra_convs: bool | str = False,
    relu_before_extra_convs: bool = False,
    act_cfg: dict | None = None,
    **_: object,
) -> list[Tensor]:
    """Backbone maps, finest first, to ``num_outs`` levels; which norms there are, ``p`` tells."""
    act = act_cfg is not None
    inputs = inputs[start_level:]
    laterals = [conv_module(part(p, "lateral_convs", i), x, 1, act) for i, x in enumerate(inputs)]
    for i in reversed(range(len(inputs) - 1)):
        size = laterals[i].shape[2:]
        laterals[i] = laterals[i] + F.interpolate(laterals[i + 1], size=size, mode="nearest")
    outs = [conv_module(part(p, "fpn_convs", i), x, 1, act) for i, x in enumerate(laterals)]

    source = {"on_input": inputs[-1], "on_lateral": laterals[-1]}.get(add_extra_convs, outs[-1])
    for i in range(len(outs), num_outs - num_extra_trans_convs):
        if not add_extra_convs:
            outs.append(outs[-1][:, :, ::2, ::2])
            continue
        relu = relu_before_extra_convs and i > len(inputs)
        layer = part(p, "fpn_convs", i)
        outs.append(conv_module(layer, F.relu(source) if relu else source, 2, act))
        source = outs[-1]

    finer = laterals[0]
    for i in range(num_extra_trans_convs):
        layer = part(p, "extra_trans_convs", i)
        finer = F.conv_transpose2d(finer, layer["conv.weight"], layer.get("conv.bias"), 2)
        finer = finish(layer, finer, act)
        outs.insert(0, finer)
    for i in range(num_extra_trans_convs):
        outs[i] = conv_module(part(p, "extra_fpn_convs", i), outs[i], 1, act)
    return outs
