"""The README's examples, as they stand there; test_docs.py has its commands."""

import re
import subprocess
import sys

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_config_example_trains_and_predicts(tmp_path):
    """The library's own config with our backbone and neck in it: losses, gradients, boxes."""
    (text,) = (block for block in PYTHON if "_base_" in block)
    (tmp_path / "my_faster_rcnn.py").write_text(text)
    cfg = Config.fromfile(tmp_path / "my_faster_rcnn.py")
    init_default_scope("mmdet")
    from mmdet.registry import MODELS
    from mmdet.testing import demo_mm_inputs

    assert cfg.model.backbone.init_cfg.checkpoint.endswith("/lsnet_t.pth")
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    data = model.data_preprocessor(demo_mm_inputs(2, [[3, 128, 160], [3, 96, 128]]), True)
    loss, _ = model.parse_losses(model.train()(**data, mode="loss"))
    loss.backward()
    assert torch.isfinite(loss)
    assert model.backbone.patch_embed[0].c.weight.grad.abs().sum() > 0
    with torch.no_grad():
        results = model.eval()(**data, mode="predict")
    assert all("bboxes" in r.pred_instances for r in results)


def test_python_example_prints_what_it_says():
    (text,) = (block for block in PYTHON if "import torch" in block)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    said = re.search(r"# (\[\(.*)", text).group(1)
    assert done.stdout.strip().splitlines()[-1] == said
