"""The benchmark: what it counts, and that it runs; no time is asserted."""

import copy
import csv
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch

from lsnet_mm.benchmark import networks, report, ska
from lsnet_mm.benchmark.authors import with_authors_backbone
from lsnet_mm.benchmark.measure import macs, peak_memory, tensors, time_in_turn
from lsnet_mm.benchmark.subjects import build, training_step, with_checkpointing, with_unfold
from lsnet_mm.errors import InputError
from lsnet_mm.models import LSNet
from lsnet_mm.ops import ska as our_ska
from tests.conftest import ROOT, exports

CPU = torch.device("cpu")


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "size", "published"),
    [
        ("lsnet_t", (224, 224), 0.3163),
        ("lsnet_s", (224, 224), 0.5385),
        ("lsnet_b", (224, 224), 1.2475),
        ("lsnet_t_backbone", (512, 512), 1.518),
    ],
)
def test_multiply_adds_are_about_the_published_ones(name, size, published):
    """Those also count what norms and the resized bias take, at most 1.2% of all."""
    model = build(name).eval()
    counted = macs(lambda: model(torch.zeros(1, 3, *size))) / 1e9
    assert 0.988 * published < counted < published


@torch.no_grad()
def test_multiply_adds_of_the_operator_are_those_of_a_depthwise_convolution():
    x, w = torch.zeros(2, 16, 5, 7), torch.zeros(2, 2, 9, 5, 7)
    conv = torch.nn.Conv2d(16, 16, 3, padding=1, groups=16)
    assert macs(lambda: our_ska(x, w)) == macs(lambda: conv(x)) == 2 * 16 * 5 * 7 * 9


def test_peak_memory_is_what_was_allocated_at_once():
    def call() -> torch.Tensor:
        first = torch.empty(2**20)  # 4 MiB
        second = torch.empty(2**20) + first
        del first, second
        return torch.empty(2**18)

    assert peak_memory(call, CPU) / 2**20 == pytest.approx(12, abs=0.1)


def test_calls_are_timed_in_turn():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    times = time_in_turn(calls, 5, CPU)
    assert set(times) == {"a", "b"}
    assert all(0 < t.low <= t.median <= t.high for t in times.values())
    changes = [name for i, name in enumerate(order) if i == 0 or order[i - 1] != name]
    assert changes == ["a", "b"] * 6  # warming up, then each of five timings


@pytest.mark.parametrize("shape", [(2, 16, 5, 7), (1, 8, 1, 3)])
def test_plain_version_is_the_same_operator(shape):
    x, w = torch.randn(shape), torch.randn(shape[0], shape[1] // 8, 9, *shape[2:])
    torch.testing.assert_close(ska.unfold_ska(x, w), our_ska(x, w))


def builders(*names: str) -> dict[str, Callable]:
    return {name: partial(build, name) for name in names}


def test_networks_are_compared_with_the_first():
    names, modes = ["lsnet_t", "mobilenetv3_small_050"], ["eager", "folded"]
    rows = networks.compare(builders(*names), modes, 1, (32, 32), torch.float32, CPU, 3)
    assert [(r["network"], r["mode"]) for r in rows] == [(n, m) for n in names for m in modes]
    assert rows[0]["speedup"] == 1
    assert rows[0]["parameters_m"] == pytest.approx(11.409832)
    assert rows[1]["parameters_m"] == pytest.approx(11.370488)
    for row in rows:
        assert row["images_per_s"] * row["ms"] == pytest.approx(1000)
        assert row["speedup"] == pytest.approx(rows[0]["ms"] / row["ms"])
        assert row["memory_mib"] > 0


@exports
@torch.no_grad()
def test_exported_networks_are_measured():
    modes = ["eager", "onnxruntime", "openvino"]
    rows = networks.compare(builders("lsnet_t"), modes, 2, (32, 32), torch.float32, CPU, 2)
    assert [row["mode"] for row in rows] == modes
    assert [row["memory_mib"] is None for row in rows] == [False, True, True]
    with pytest.raises(InputError, match="for inference in float32 on a CPU"):
        networks.compare(builders("lsnet_t"), modes, 2, (32, 32), torch.bfloat16, CPU, 2)


def test_variants_give_the_same_numbers(tmp_path):
    model, x = build("lsnet_s_backbone").eval(), torch.randn(2, 3, 64, 96)
    want = model(x)
    for got, expected in zip(with_unfold(copy.deepcopy(model))(x), want, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert all(m.with_cp for m in with_checkpointing(model).modules() if isinstance(m, LSNet))


def test_authors_backbone_is_loaded_from_a_clone(tmp_path):
    """On a file of the layout of theirs, which imports what old mm libraries had."""
    code = tmp_path / "detection" / "model"
    code.mkdir(parents=True)
    (code / "ska.py").write_text("class SKA:\n    pass\n")
    (code / "lsnet.py").write_text(
        "from mmcv_custom import load_checkpoint\n"
        "from mmdet.models.builder import BACKBONES\n"
        "from mmdet.utils import get_root_logger\n"
        "from lsnet_mm.models import LSNet\n"
        "from .ska import SKA\n"
        "@BACKBONES.register_module()\n"
        "def lsnet_t(pretrained, frozen_stages):\n"
        "    model = LSNet('t')\n"
        "    model.theirs = SKA()\n"
        "    return model\n"
    )
    ours = build("lsnet_t_backbone")
    theirs = with_authors_backbone(ours, tmp_path)
    assert theirs is not ours
    assert hasattr(theirs, "theirs")
    torch.testing.assert_close(theirs.state_dict(), ours.state_dict())
    detector = build(str(ROOT / "configs/retinanet_lsnet_t_shapes.py"))
    assert hasattr(with_authors_backbone(detector, tmp_path).backbone, "theirs")
    with pytest.raises(InputError, match="no clone of their repository"):
        with_authors_backbone(ours, tmp_path / "detection")
    with pytest.raises(InputError, match="four outputs"):
        with_authors_backbone(build("lsnet_t"), tmp_path)


@pytest.mark.parametrize(
    "config", ["retinanet_lsnet_t_shapes", "mask_rcnn_lsnet_t_coco", "fpn_lsnet_t_shapes"]
)
def test_training_step_takes_the_configs_own_loss(config):
    model = build(str(ROOT / f"configs/{config}.py")).train()
    before = {k: v.clone() for k, v in model.named_parameters()}
    training_step(model, torch.randn(2, 3, 64, 96))()
    moved = [k for k, v in model.named_parameters() if not torch.equal(v, before[k])]
    assert any("head" in k for k in moved)
    assert any(k.startswith("backbone.") for k in moved)


def test_networks_of_several_libraries_stand_side_by_side():
    for name in ("configs/fpn_lsnet_t_shapes.py", "lsnet_t", "configs/retinanet_lsnet_t_shapes.py"):
        assert build(str(ROOT / name) if name.endswith(".py") else name)


def test_training_step_of_a_bare_network():
    found = builders("lsnet_t_backbone")
    rows = networks.compare(found, ["eager"], 2, (32, 32), torch.bfloat16, CPU, 2, train=True)
    assert rows[0]["gmacs"] is None
    assert rows[0]["memory_mib"] > 0


def test_operator_is_measured_at_the_networks_shapes():
    rows = ska.compare("t", (224, 224), 2, torch.float32, CPU, 2)
    assert [(r["shape"], r["direction"]) for r in rows] == [
        ("2x128x14x14", "forward"),
        ("2x128x14x14", "backward"),
        ("2x256x7x7", "forward"),
        ("2x256x7x7", "backward"),
    ]
    for row in rows:
        assert row["speedup"] == pytest.approx(row["unfold_ms"] / row["ska_ms"])
        assert 0 < row["ska_mib"] < row["unfold_mib"] / 5


def test_unknown_network_is_an_error_that_names_others():
    with pytest.raises(InputError, match=r"lsnet_x is neither .* nor a model of timm"):
        build("lsnet_x")
    with pytest.raises(InputError, match=r"timm \(which has .*mobilenetv3_large_100"):
        build("mobilenetv3_large_10")
    with pytest.raises(InputError, match=r"config not found: none\.py"):
        build("none.py")


def test_outputs_of_any_nesting_are_found():
    one = torch.zeros(1)
    assert len(tensors({"a": (one, [one, None]), "b": one})) == 3


def test_tool_prints_a_table_and_writes_csv_and_plot(tmp_path):
    command = [sys.executable, "tools/benchmark.py", "lsnet_t", "--size", "32", "--repeats", "1"]
    done = subprocess.run(
        [*command, "--batch", "1", "2", "--out", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "float32, inference" in done.stdout
    with (tmp_path / "benchmark.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["batch"] for row in rows] == ["1", "2"]
    assert float(rows[0]["gmacs"]) > 0
    assert (tmp_path / "speed_accuracy.png").stat().st_size > 5000
    wrong = subprocess.run([*command[:2], "none"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 1
    assert wrong.stderr.strip().splitlines()[-1].startswith("error: none is neither")


def test_table_aligns_and_shortens():
    rows = [{"name": "a", "ms": 1.23456, "n": None}, {"name": "bcd", "ms": 100.0, "n": 5}]
    assert report.table(rows).splitlines() == ["name     ms  n", "a     1.235  -", "bcd     100  5"]
