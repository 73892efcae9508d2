"""Checkpoints and exported files alike, and mm's own functions: the same from all."""

from ast import literal_eval

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmpretrain import ImageClassificationInferencer
from mmseg.apis import inference_model, init_model
from mmseg.registry import MODELS
from PIL import Image

from lsnet_mm.deploy import export_onnx
from lsnet_mm.errors import CheckpointError, InputError
from lsnet_mm.inference import Classes, Detections, LabelMap, Predictor
from tests import golden
from tests.configs.recipes import read
from tests.conftest import ROOT, exports
from tests.engine import test_classifiers, test_detectors, test_segmentors
from tests.test_readme import PYTHON


def match(found: Detections, wanted: Detections) -> None:
    """Assert that two results hold the same objects, in any order where scores tie."""
    assert len(found.scores) == len(wanted.scores) > 0
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    rows, right = (np.column_stack([r.labels, r.boxes]) for r in (found, wanted))
    order, other = (np.lexsort(np.round(r[:, ::-1], 1).T) for r in (rows, right))
    np.testing.assert_allclose(rows[order], right[other], atol=2e-2)
    if wanted.masks is not None:
        assert (found.masks[order] == wanted.masks[other]).mean() > 0.999
        assert 0 < wanted.masks.mean() < 1


# The same from a checkpoint and an exported file.


@exports
def test_same_objects(networks, images):
    files = networks("mask")
    for image in images[:3]:
        match(files.predictor("onnx")(image), files.predictor()(image))


@exports
def test_same_label_maps(networks, images):
    found, wanted = (networks("seg").predictor(kind)(images[:3]) for kind in ("onnx", "pth"))
    for f, w in zip(found, wanted, strict=True):
        assert f.labels.shape == w.labels.shape == (120, 160)
        assert (f.labels == w.labels).mean() > 0.999
        assert len(np.unique(w.labels)) > 1


@exports
@pytest.mark.parametrize("kind", ["onnx", "xml", "pt2"])
def test_same_classes(kind, networks, images):
    networks("cls").predictor("onnx")  # what the others may be made of
    found, wanted = (networks("cls").predictor(k)(images, batch_size=4) for k in (kind, "pth"))
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f.scores, w.scores, atol=1e-4)
        assert [name for name, _ in f.top()] == [name for name, _ in w.top()]


# As mm's own functions have it.


def test_objects_are_mmdets(networks, images):
    files = networks("mask")
    model = init_detector(files.config, files.checkpoint, device="cpu")
    want = inference_detector(model, str(images[0])).pred_instances.numpy()
    wanted = Detections(None, (), (), want.bboxes, want.scores, want.labels, want.masks)
    match(files.predictor()(images[0]), wanted)


def test_label_maps_are_mmsegs(networks, images):
    files = networks("seg")
    model = init_model(files.config, files.checkpoint, device="cpu")
    want = inference_model(model, str(images[0])).pred_sem_seg.data[0].numpy()
    found = files.predictor()(images[0])
    assert (found.labels == want).mean() > 0.999


def test_classes_are_mmpretrains(networks, images):
    files = networks("cls")
    init_default_scope("mmpretrain")  # other tests leave theirs
    infer = ImageClassificationInferencer(files.config, pretrained=files.checkpoint, device="cpu")
    (want,) = infer(str(images[0]))
    found = files.predictor()(images[0])
    np.testing.assert_allclose(found.scores, want["pred_scores"], atol=1e-4)
    assert found.top()[0][0] == want["pred_class"]


# Images.


def test_files_arrays_and_pil_images_are_the_same(networks, images):
    predictor = networks("det").predictor()
    wanted = predictor(images[0])
    array = cv2.imread(str(images[0]))
    pil = Image.fromarray(array[..., ::-1])
    found = predictor([str(images[0]), array, pil])
    for result in found:
        assert isinstance(result, Detections)
        match(result, wanted)
        np.testing.assert_array_equal(result.image, array)


def test_batches_hold_images_of_one_size(networks, images):
    predictor = networks("det").predictor()
    tall = np.ascontiguousarray(cv2.imread(str(images[1])).transpose(1, 0, 2))
    given = [images[0], tall, images[2]]
    for found, image in zip(predictor(given, batch_size=3), given, strict=True):
        match(found, predictor(image))


def test_exif_is_heeded_where_the_config_does(networks, images, tmp_path):
    picture = Image.open(images[0])
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert networks("det").predictor()(tmp_path / "turned.jpg").image.shape == (160, 120, 3)
    assert networks("cls").predictor()(tmp_path / "turned.jpg").image.shape == (120, 160, 3)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("none.jpg", "none.jpg: does not exist"),
        (np.zeros((4, 4), np.uint8), r"must be a file, a PIL image or an array \(H, W, 3\)"),
        (np.zeros((4, 4, 3)), "must be of uint8, 0 to 255, but is of float64"),
        (np.zeros((1, 2000, 3), np.uint8), "an image of 2000x1 pixels cannot be prepared"),
        (None, "NoneType"),
    ],
)
def test_images_that_cannot_be_used(image, message, networks):
    with pytest.raises(InputError, match=message):
        networks("det").predictor()(image)


@exports
def test_a_file_of_one_size_takes_others_and_says_so(networks, images):
    predictor = networks("seg").predictor("onnx")
    array = cv2.imread(str(images[0]))
    with pytest.warns(UserWarning, match=r"tools/export.py --dynamic-size"):
        found = predictor([np.tile(array, (1, 3, 1)), np.tile(array, (3, 1, 1))])
    assert [result.labels.shape for result in found] == [(120, 480), (360, 160)]


# Models.


def test_a_checkpoint_knows_its_config(networks, images):
    files = networks("cls")
    predictor = Predictor(files.checkpoint)
    wanted = files.predictor()(images[0])
    np.testing.assert_allclose(predictor(images[0]).scores, wanted.scores, atol=1e-6)
    assert predictor.classes == networks("cls").predictor().classes != ()


def test_models_that_cannot_be_used(networks, tmp_path):
    with pytest.raises(CheckpointError, match="is not one of this RetinaNet"):
        Predictor(networks("det").config, networks("mask").checkpoint)
    with pytest.raises(InputError, match="device 'tpu' cannot be used"):
        Predictor(networks("cls").config, networks("cls").checkpoint, device="tpu")
    torch.save(torch.load(networks("cls").checkpoint)["state_dict"], tmp_path / "bare.pth")
    with pytest.raises(InputError, match=r"bare.pth holds no config: name it"):
        Predictor(tmp_path / "bare.pth")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match=r"bad.onnx cannot be loaded"):
        Predictor(tmp_path / "bad.onnx")


@exports
def test_other_peoples_files_are_refused(tmp_path):
    export_onnx(torch.nn.Conv2d(3, 1, 1), torch.zeros(1, 3, 8, 8), tmp_path / "foreign.onnx")
    with pytest.raises(InputError, match=r"foreign.onnx does not tell its task"):
        Predictor(tmp_path / "foreign.onnx")


@torch.no_grad()
def test_the_readmes_lines_with_published_files(images, tmp_path, monkeypatch, capsys):
    weights = tmp_path / "pretrain"
    weights.mkdir()
    detector = test_detectors.build("retinanet")
    test_detectors.published_file(detector, weights / "lsnet_t_retinanet.pth")
    segmentor = revert_sync_batchnorm(MODELS.build(read("fpn_lsnet_t_ade20k").model))
    test_segmentors.published_file(golden.fill(segmentor), weights / "lsnet_t_semfpn.pth")
    test_classifiers.published_file("lsnet_t", weights)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "image.jpg").symlink_to(images[0])
    monkeypatch.chdir(tmp_path)
    (lines,) = (text for text in PYTHON if "Predictor" in text)
    names = {}
    exec(lines, names)
    kinds = {"detect": Detections, "segment": LabelMap, "classify": Classes}
    first = {"detect": "person", "segment": "wall", "classify": "tench, Tinca tinca"}
    for name, kind in kinds.items():
        assert names[name].classes[0] == first[name]
        assert type(names[name]("image.jpg")) is kind
    for drawn in ("objects.jpg", "label_map.jpg"):
        assert Image.open(drawn).size == (160, 120)
    best = literal_eval(capsys.readouterr().out.strip().splitlines()[-1])
    assert [name for name, _ in best] == [
        names["classify"].classes[i] for i in np.argsort(-names["classify"]("image.jpg").scores)[:5]
    ]
