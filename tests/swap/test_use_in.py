"""LSNet in library configs: what `use_in` changes, what it leaves, and what it refuses."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from lsnet_mm import changes, use_in
from lsnet_mm.errors import InputError
from lsnet_mm.models import LSNet
from lsnet_mm.swap.maps import lsnet, measure
from tests.configs.recipes import CHANNELS

RETINANET = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
YOLOX = "mmdet::yolox/yolox_s_8xb8-300e_coco.py"
CONVNEXT = "mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py"
MOBILENET = "mmpretrain::mobilenet_v3/mobilenet-v3-large_8xb128_in1k.py"


def read(path: str) -> Config:
    return Config.fromstring(f"_base_ = {path!r}", ".py")


def test_only_backbone_neck_pixels_and_imports_change():
    before = read(RETINANET)
    unchanged = copy.deepcopy(before)
    after = use_in(before)
    assert before.to_dict() == unchanged.to_dict()
    assert after.custom_imports == dict(imports=["lsnet_mm"], allow_failed_imports=False)
    for cfg in (before, after):
        cfg.model.pop("backbone")
        neck = cfg.model.neck
        neck.pop("in_channels")
        neck.pop("start_level")
        cfg._cfg_dict.pop("custom_imports", None)
    assert after.to_dict() == before.to_dict()


def test_takes_a_config_a_path_and_a_name_of_the_librarys(tmp_path):
    (tmp_path / "mine.py").write_text(f"_base_ = {RETINANET!r}\n")
    made = [use_in(cfg).model for cfg in (RETINANET, read(RETINANET), tmp_path / "mine.py")]
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("library_config", [RETINANET, CONVNEXT, MOBILENET])
def test_config_by_changes_is_that_of_use_in(library_config, tmp_path):
    """Of a plain config, of one with imports and rates of its own, and with pixels at the top."""
    code = "from lsnet_mm import changes\nglobals().update(changes(_base_, arch='s'))\n"
    (tmp_path / "mine.py").write_text(f"_base_ = {library_config!r}\n{code}")
    mine, wanted = Config.fromfile(tmp_path / "mine.py"), use_in(library_config, "s")
    assert mine.to_dict() == wanted.to_dict()
    assert mine.model.backbone.arch == "s"


def test_changes_are_no_more_than_those():
    assert set(changes(RETINANET)) == {"model", "custom_imports"}


@pytest.mark.parametrize(
    ("cfg", "order"),
    [
        (YOLOX, "bgr_to_rgb"),  # it takes pixels as they are
        ("mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py", "bgr_to_rgb"),  # those of Caffe
        ("mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py", "bgr_to_rgb"),
        (MOBILENET, "to_rgb"),
    ],
)
def test_pixels_are_those_of_the_weights(cfg, order):
    cfg = use_in(cfg)
    pixels = cfg.get("data_preprocessor") or cfg.model.data_preprocessor
    assert pixels.mean == [123.675, 116.28, 103.53]
    assert pixels.std == [58.395, 57.12, 57.375]
    assert pixels[order]


def test_strides_stay_those_that_a_detector_counts_on():
    """SOLO's, from 4 to 64, on the maps that its neck makes of an image."""
    cfg = use_in("mmdet::solov2/solov2_r50_fpn_1x_coco.py")
    init_default_scope("mmdet")
    cfg.model.backbone.init_cfg = None
    parts = [MODELS.build(cfg.model[part]) for part in ("backbone", "neck")]
    with torch.no_grad():
        maps = parts[1](parts[0](torch.zeros(1, 3, 128, 192)))
    assert [tuple(one.shape[2:]) for one in maps] == [
        (128 // s, 192 // s) for s in (4, 8, 16, 32, 64)
    ]


def test_a_dilated_stage_becomes_the_maps_up_to_it():
    model = use_in("mmseg::pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py", "s").model
    assert "pretrained" not in model
    head, auxiliary = model.decode_head, model.auxiliary_head
    assert (head.in_channels, head.in_index) == (CHANNELS["s"], [0, 1, 2, 3])
    assert (auxiliary.in_channels, auxiliary.in_index) == (CHANNELS["s"][:3], [0, 1, 2])
    assert head.input_transform == auxiliary.input_transform == "resize_concat"


def test_a_network_that_another_trains_is_found():
    name = "soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco"
    model = use_in(f"mmdet::soft_teacher/{name}.py").model
    assert model.detector.backbone.type == "LSNet"
    assert model.detector.neck.type == "LSNetFPN"
    # The pixels of the wrapper and of what it wraps.
    assert model.data_preprocessor.data_preprocessor.std == [58.395, 57.12, 57.375]
    assert model.detector.data_preprocessor.std == [58.395, 57.12, 57.375]


def test_imports_and_rates_of_the_former_backbone():
    """ConvNeXt's config imports mmpretrain, and has a rate for each of ConvNeXt's layers."""
    before, after = read(CONVNEXT), use_in(CONVNEXT)
    assert after.custom_imports.imports == [*before.custom_imports.imports, "lsnet_mm"]
    assert "constructor" in before.optim_wrapper
    assert not {"constructor", "paramwise_cfg"} & set(after.optim_wrapper)
    assert after.optim_wrapper.optimizer == before.optim_wrapper.optimizer


def test_import_given_as_text():
    cfg = use_in("mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py")
    assert cfg.custom_imports.imports == ["mmdet.models", "lsnet_mm"]


def test_random_numbers_after_it_are_those_without_it():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    use_in(YOLOX)
    assert torch.equal(torch.rand(3), expected)


def with_model(**changes) -> Config:
    cfg = read(RETINANET)
    cfg.merge_from_dict({f"model.{name}": value for name, value in changes.items()})
    return cfg


@pytest.mark.parametrize(
    ("cfg", "arch", "message"),
    [
        (RETINANET, "x", "arch must be one of t, s, b, got 'x'"),
        ("mmdet::retinanet/no_such.py", "t", "no_such.py cannot be read as a config"),
        ("no_such.py", "t", "no_such.py cannot be read as a config"),
        (Config(dict(default_scope="mmrotate")), "t", "got 'mmrotate'"),
        (Config(dict(default_scope="mmdet")), "t", "has no model.backbone"),
        ("mmdet::detectors/cascade-rcnn_r50-rfp_1x_coco.py", "t", "to neck RFP.*256 at stride 4"),
        ("mmdet::ssd/ssd300_coco.py", "t", "SSDNeck cannot be run"),
        ("mmseg::unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64.py", "t", "UNet, whose maps"),
        ("mmseg::ann/ann_r50-d8_4xb4-80k_ade20k-512x512.py", "t", r"ANNHead on maps \[2, 3\]"),
        ("mmpretrain::hrnet/hrnet-w18_4xb32_in1k.py", "t", "neck and head of ImageClassifier"),
    ],
)
def test_refuses_what_it_cannot_know(cfg, arch, message):
    with pytest.raises(InputError, match=message):
        use_in(cfg, arch)


def test_a_pyramid_goes_in_front_of_a_neck_that_counts_on_all_maps():
    """As this one does by ``end_level``: LSNet's maps alone would be one too few."""
    cfg = use_in(with_model(**{"neck.end_level": 2, "neck.num_outs": 2}))
    first, second = cfg.model.neck
    assert first.type == "LSNetFPN"
    assert (second.type, second.in_channels) == ("FPN", [256] * 4)
    init_default_scope("mmdet")
    assert [one.stride for one in measure(cfg.model.backbone, cfg.model.neck)] == [8, 16]


def test_refuses_a_neck_that_would_give_other_maps():
    changed = dict(in_channels=[512, 1024, 2048], start_level=1, end_level=2, num_outs=2)
    changed = {f"neck.{name}": value for name, value in changed.items()}
    cfg = with_model(**changed, **{"backbone.out_indices": (1, 2, 3)})
    with pytest.raises(InputError, match="neck FPN"):
        use_in(cfg)


def test_refuses_a_head_that_counts_on_other_channels():
    cfg = read("mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py")
    cfg.model.auxiliary_head.in_channels = 512
    with pytest.raises(InputError, match="FCNHead on map 2"):
        use_in(cfg)


def test_strides_of_the_stages_are_as_said():
    for arch in LSNet.arch_zoo:
        network, maps = lsnet(arch, (1, 3))
        network.pop("init_cfg")
        network.pop("type")
        outputs = LSNet(**network).eval()(torch.zeros(1, 3, 128, 128))
        assert [(x.shape[1], 128 // x.shape[3]) for x in outputs] == maps
