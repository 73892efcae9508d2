"""The list of published weights: what it names is there, and no number stands in two versions."""

import re

import pytest
import yaml
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.registry import MODELS, init_default_scope

from lsnet_mm.benchmark.subjects import TOP1
from lsnet_mm.errors import InputError
from lsnet_mm.model_zoo import HUB, METAFILE, find, published
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
KINDS = ("", "_distill", "_retinanet", "_maskrcnn", "_semfpn")
NAMES = [f"lsnet_{arch}{kind}" for kind in KINDS for arch in "tsb"]


def test_all_published_files_are_named():
    assert list(published()) == NAMES
    for name, weights in published().items():
        assert weights.url == f"{HUB}{name}.pth"
        assert weights.results
        assert all(result.metrics for result in weights.results)


@pytest.mark.parametrize("index", ["model-index.yml", "lsnet_mm/model-index.yml"])
def test_mim_finds_them_in_the_repository_and_in_the_package(index):
    (path,) = yaml.safe_load((ROOT / index).read_text())["Import"]
    assert (ROOT / index).parent.joinpath(path).resolve() == METAFILE.resolve()


@pytest.mark.parametrize("name", NAMES)
def test_config_builds_the_network_of_that_size(name):
    weights = find(name)
    cfg = Config.fromfile(ROOT / weights.config)
    init_default_scope(cfg.default_scope)
    cfg.model.pop("teacher", None)  # it is not part of the weights
    if cfg.model.type == "DistilledClassifier":
        cfg.model.type = "ImageClassifier"
    parameters = MODELS.build(cfg.model).parameters()
    assert sum(p.numel() for p in parameters) == weights.parameters


@pytest.mark.parametrize(
    ("kind", "dataset"),
    [
        ("", "ImageNet-1k"),
        ("_distill", "ImageNet-1k"),
        ("_retinanet", "COCO"),
        ("_maskrcnn", "COCO"),
        ("_semfpn", "ADE20K"),
    ],
)
def test_first_result_is_of_the_data_trained_on(kind, dataset):
    assert {find(f"lsnet_{arch}{kind}").results[0].dataset for arch in "tsb"} == {dataset}


def metrics(name: str) -> list[str]:
    return [f"{v:.1f}" for result in find(name).results for v in result.metrics.values()]


@pytest.mark.parametrize("arch", "tsb")
def test_readme_has_the_same_numbers(arch):
    rows = re.findall(rf"^\| LSNet-{arch.upper()} \|.*$", README, re.MULTILINE)
    tables = [[cell.strip() for cell in row.split("|")[4:-2]] for row in rows]
    name = f"lsnet_{arch}"
    mask_rcnn = metrics(f"{name}_maskrcnn")  # AP, AP50, AP75 of boxes, then of masks
    coco = [*metrics(f"{name}_retinanet")[:3], *mask_rcnn[:2], *mask_rcnn[3:5]]
    top1, *robustness = metrics(name)
    imagenet = [top1, *metrics(f"{name}_distill"), *robustness]
    assert tables == [coco, metrics(f"{name}_semfpn"), imagenet]
    assert TOP1[name] == float(top1)


def test_mm_finds_weights_and_configs():
    found = list(BaseInferencer._get_models_from_metafile(str(ROOT)))
    assert [entry["Name"] for entry in found] == NAMES
    for entry in found:
        assert {"In Collection", "Config", "Metadata", "Results", "Weights"} <= set(entry)
        assert entry["In Collection"] == "LSNet"
        assert (ROOT / entry["Config"]).is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lsnet_retinanet_t", "do you mean lsnet_"),
        ("lsnet_t_mask_rcnn.pth", "do you mean lsnet_t_maskrcnn"),
        ("resnet50", "there are lsnet_t, lsnet_s, "),
    ],
)
def test_unknown_name_gets_near_ones(name, message):
    with pytest.raises(InputError) as raised:
        find(name)
    assert repr(name) in str(raised.value)
    assert message in str(raised.value)
