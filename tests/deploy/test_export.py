"""Exported networks, loaded from their files alone, against PyTorch."""

import pytest
import timm
import torch
from torch import nn
from torch.torch_version import TorchVersion

from lsnet_mm.deploy import export_onnx, export_openvino, export_torch, load
from lsnet_mm.errors import InputError
from lsnet_mm.models import LSNet
from tests import golden
from tests.conftest import exports

TINY = dict(channels=(16, 16, 32, 32), depths=(0, 1, 2, 2))


def compare(runtime, model: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        want = model(x)
    want = want if isinstance(want, tuple) else (want,)
    for got, output in zip(runtime(x.numpy()), want, strict=True):
        atol = 1e-4 * output.std().item()
        torch.testing.assert_close(torch.from_numpy(got), output, rtol=0, atol=atol)


@exports
def test_backbone_in_every_format(tmp_path):
    model = golden.fill(LSNet(TINY, resolution=4)).eval()
    x = golden.images(0, (3, 3, 96, 128))
    options = dict(dynamic_size=True, metadata={"classes": ["a", "b"]})
    onnx = export_onnx(model, x[:1], tmp_path / "net.onnx", **options)
    files = [
        onnx,
        export_openvino(onnx, tmp_path / "net.xml"),
        export_torch(model, x[:1], tmp_path / "net.pt2", **options),
    ]
    for file in files:
        runtime = load(file, threads=1)
        assert runtime.metadata == {"classes": ["a", "b"]}
        for images in (x[:1], x, golden.images(1, (2, 3, 150, 97))):
            compare(runtime, model, images)


def test_torch_that_is_too_old_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.4.1"))
    model, x = nn.Conv2d(3, 1, 1), torch.zeros(1, 3, 8, 8)
    for export, file in ((export_onnx, "net.onnx"), (export_torch, "net.pt2")):
        with pytest.raises(InputError, match=r"exporting takes torch .* and this is 2\.4\.1"):
            export(model, x, tmp_path / file)
        assert not (tmp_path / file).exists()


@exports
def test_another_librarys_network(tmp_path):
    model = timm.create_model("mobilenetv3_small_050", num_classes=5).eval()
    x = golden.images(0, (2, 3, 64, 64))
    compare(load(export_onnx(model, x, tmp_path / "net.onnx"), threads=1), model, x)
