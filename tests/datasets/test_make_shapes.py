import hashlib
import importlib.util
import itertools
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from timm.data import ImageNetInfo

from lsnet_mm.datasets import coco_writer, folders
from lsnet_mm.datasets.ade20k_writer import write_ade20k
from lsnet_mm.datasets.coco_writer import COCO_NAMES, write_coco
from lsnet_mm.datasets.folders import OutputFolderError
from lsnet_mm.datasets.imagenet_writer import IMAGENET_SYNSETS, write_imagenet, write_imagenet_c
from lsnet_mm.datasets.shapes import CLASSES

ROOT = Path(__file__).parents[2]
SMALL = {"train": 3, "val": 2}
FORMATS = {
    "coco": (write_coco, "2 training and 1 validation images"),
    "ade20k": (write_ade20k, "2 training and 1 validation images, each with a label map"),
    "imagenet": (write_imagenet, "2 training and 1 validation images"),
    "imagenet-c": (write_imagenet_c, "1 images of each of 15 corruptions at 5 severities"),
}


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the tool in this process; return its exit status, standard output and error output."""
    spec = importlib.util.spec_from_file_location("make_shapes", ROOT / "tools/make_shapes.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["make_shapes.py", *map(str, args)])
        try:
            status = tool.main()
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def hashes(out_dir):
    files = (path for path in sorted(out_dir.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(out_dir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def tree(out_dir):
    """All files with their digests, and all folders."""
    folders = {str(path.relative_to(out_dir)) for path in out_dir.rglob("*") if path.is_dir()}
    return hashes(out_dir), folders


# The output folder


@pytest.mark.parametrize(
    ("before", "after", "killed"),
    [
        (["--coco-classes"], [], "train2017/000000000009.jpg"),
        (
            ["--format", "ade20k"],
            ["--format", "ade20k"],
            "ADEChallengeData2016/annotations/training/ADE_train_00000009.png",
        ),
        (
            ["--format", "imagenet", "--imagenet-classes"],
            ["--format", "imagenet"],
            "train/n04118538/n04118538_00000008.jpg",
        ),
        (
            ["--format", "imagenet-c", "--imagenet-classes"],
            ["--format", "imagenet-c"],
            "snow/5/n04118538/n04118538_00000001.jpg",
        ),
    ],
)
def test_an_earlier_run_is_replaced_with_nothing_left(tmp_path, run, before, after, killed):
    size = ["--size", "40x32"]
    assert run(tmp_path / "new", *after, "--train", 3, "--val", 2, *size)[0] == 0
    assert run(tmp_path / "old", *before, "--train", 9, "--val", 3, "--seed", 5, *size)[0] == 0
    assert (tmp_path / "old" / killed).exists()
    (tmp_path / "old" / f"{killed}.part").touch()  # as a killed run leaves
    (tmp_path / "old/readme.txt").write_text("not in our folders")
    assert run(tmp_path / "old", *after, "--train", 3, "--val", 2, *size)[0] == 0
    (tmp_path / "old/readme.txt").unlink()
    assert tree(tmp_path / "old") == tree(tmp_path / "new")


@pytest.mark.parametrize(
    ("layout", "ours", "name"),
    [
        ("coco", False, "train2017/000000000001.jpg"),
        ("coco", False, "val2017/photo.jpg"),
        ("coco", False, "annotations/instances_val2017.json"),
        ("coco", True, "train2017/000000000004.jpg"),  # one more than the earlier run wrote
        ("coco", True, "val2017/photo.jpg"),
        ("coco", True, "annotations/person_keypoints_val2017.json"),
        ("ade20k", False, "ADEChallengeData2016/images/training/ADE_train_00000001.jpg"),
        ("ade20k", True, "ADEChallengeData2016/annotations/training/ADE_train_00000004.png"),
        ("imagenet", False, "train/dog"),
        ("imagenet", True, "train/star/star_00000011.jpg"),
        ("imagenet-c", False, "fog/readme.txt"),
        ("imagenet-c", True, "snow/3/ring/photo.jpg"),
    ],
)
def test_a_folder_with_other_files_is_refused_and_kept(tmp_path, run, layout, ours, name):
    arguments = ["--format", layout, "--size", "32x32"]
    if ours:
        assert run(tmp_path, "--train", 3, "--val", 2, *arguments)[0] == 0
    other = tmp_path / name
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_text("precious")
    before = tree(tmp_path)
    status, _, error = run(tmp_path, "--train", 9, "--val", 9, *arguments)
    assert (status, tree(tmp_path)) == (2, before)
    assert error == (
        f"make_shapes.py: error: {other} was not written by this tool: choose another folder\n"
    )


def test_a_class_folder_of_others_is_refused(tmp_path, run):
    """It would be one class more to those who count them, even if it is empty."""
    (tmp_path / "val" / "dog").mkdir(parents=True)
    status, _, error = run(tmp_path, "--format", "imagenet")
    assert status == 2
    assert f"{tmp_path}/val/dog was not written by this tool" in error
    assert not (tmp_path / "train").exists()


def test_a_set_of_another_format_is_refused_and_kept(tmp_path, run):
    small = ["--train", 1, "--val", 1, "--size", "32x32"]
    for layout, other in itertools.pairwise([*FORMATS, "coco"]):
        out_dir = tmp_path / layout
        assert run(out_dir, "--format", layout, *small)[0] == 0
        before = tree(out_dir)
        status, _, error = run(out_dir, "--format", other, *small)
        assert (status, tree(out_dir)) == (2, before)
        assert error == (
            f"make_shapes.py: error: {out_dir} holds a set of format {layout}:"
            " choose another folder\n"
        )


def test_a_marker_from_when_there_was_one_format_is_known(tmp_path, run):
    small = ["--train", 1, "--val", 1, "--size", "32x32"]
    assert run(tmp_path, *small)[0] == 0
    marker = tmp_path / "shapes.json"
    settings = json.loads(marker.read_text())
    assert settings.pop("format") == "coco"
    marker.write_text(json.dumps(settings))
    assert run(tmp_path, "--format", "ade20k", *small)[0] == 2
    assert run(tmp_path, *small, "--seed", 1)[0] == 0


@pytest.mark.parametrize("text", ["[]", "{}", "not json", '{"counts": {"train": "x"}}'])
def test_a_marker_of_another_kind_is_refused_and_kept(tmp_path, text):
    (tmp_path / "shapes.json").write_text(text)
    with pytest.raises(OutputFolderError, match=r"shapes\.json was not written by this tool"):
        write_coco(tmp_path, SMALL, (32, 32), seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["shapes.json"]
    assert (tmp_path / "shapes.json").read_text() == text


def test_annotations_go_first_and_come_last(tmp_path, monkeypatch):
    """So that a run stopped at any point leaves either a complete set or one without them."""
    write_coco(tmp_path, SMALL, (32, 32), seed=0)
    seen = []
    unlink, replace = Path.unlink, Path.replace
    monkeypatch.setattr(Path, "unlink", lambda p, **k: (seen.append(("-", p.name)), unlink(p))[1])
    monkeypatch.setattr(
        Path, "replace", lambda p, to: (seen.append(("+", to.name)), replace(p, to))[1]
    )

    def images(*_):
        seen.append(("images", ""))
        return []

    monkeypatch.setattr(coco_writer, "for_each_scene", images)
    write_coco(tmp_path, SMALL, (32, 32), seed=0)
    annotations = ["instances_train2017.json", "instances_val2017.json"]
    assert sorted(name for _, name in seen[:2]) == annotations
    assert [kind for kind, _ in seen[:7]] == ["-"] * 7
    assert seen[7:] == [
        ("+", "shapes.json"),
        ("images", ""),
        ("images", ""),
        *(("+", name) for name in annotations),
    ]


# The command line


def test_help_and_bad_arguments_wait_for_no_import():
    code = (
        "import runpy, sys\n"
        "try: runpy.run_path(sys.argv[1], run_name='__main__')\n"
        "finally: print('slow' if {'numpy', 'torch', 'lsnet_mm'} & {*sys.modules} else 'fast')"
    )
    for arguments, status in [(["--help"], 0), (["out", "--size", "9x9"], 2)]:
        done = subprocess.run(
            [sys.executable, "-c", code, ROOT / "tools/make_shapes.py", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status
        assert done.stdout.endswith("fast\n")


def test_help_tells_what_the_shapes_are_mapped_to(run):
    status, output, _ = run("--help")
    assert status == 0
    lemmas = ImageNetInfo("imagenet-1k").label_descriptions(detailed=False, as_dict=True)
    names = [lemmas[synset].split(", ")[0] for synset in IMAGENET_SYNSETS.values()]
    for shape, *others in zip(CLASSES, COCO_NAMES.values(), names, strict=True):
        for name in others:
            assert f"{shape} to {name}" in " ".join(output.split())


@pytest.mark.parametrize(
    ("layout", "options"),
    [
        *((layout, []) for layout in FORMATS),
        ("coco", ["--coco-classes"]),
        ("imagenet", ["--imagenet-classes"]),
        ("imagenet-c", ["--imagenet-classes"]),
    ],
)
def test_the_tool_writes_what_it_is_asked_for(tmp_path, run, layout, options):
    out_dir, expected = tmp_path / "a" / "b", tmp_path / "expected"
    status, output, error = run(
        *(out_dir, "--format", layout, "--train", 2, "--val", 1),
        *("--size", "48x32", "--seed", 7, *options),
    )
    assert (status, error) == (0, "")
    write, content = FORMATS[layout]
    assert output.startswith(f"{out_dir}: {content}")
    counts = 1 if layout == "imagenet-c" else {"train": 2, "val": 1}
    write(expected, counts, (48, 32), 7, *[True] * len(options))
    assert tree(out_dir) == tree(expected)


def test_a_split_may_be_empty(tmp_path, run):
    for layout in FORMATS:
        assert run(tmp_path / layout, "--format", layout, "--train", 0, "--val", 0)[0] == 0
    assert not list(tmp_path.rglob("*.jpg"))
    content = json.loads((tmp_path / "coco/annotations/instances_val2017.json").read_text())
    assert content["images"] == content["annotations"] == []
    assert (tmp_path / "ade20k/ADEChallengeData2016/images/validation").is_dir()
    assert (tmp_path / "imagenet/val/star").is_dir()
    assert (tmp_path / "imagenet-c/fog/5/star").is_dir()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--size", "320"], "'320' is not WIDTHxHEIGHT"),
        (["--size", "320x"], "'320x' is not WIDTHxHEIGHT"),
        (["--size", "-320x240"], "expected one argument"),
        (["--size", "31x240"], "'31x240' is not WIDTHxHEIGHT of 32 to 8192 pixels"),
        (["--size", "320x8193"], "'320x8193' is not"),
        (["--train", "-1"], "'-1' is not a whole number"),
        (["--val", "1.5"], "'1.5' is not a whole number"),
        (["--seed", "-3"], "'-3' is not a whole number"),
        (["--sede", "3"], "unrecognized arguments: --sede 3"),
        (["--format", "voc"], "invalid choice: 'voc'"),
        (["--format", "ade20k", "--coco-classes"], "--coco-classes does not go with --format ade"),
        (["--format", "imagenet", "--coco-classes"], "does not go with --format imagenet"),
        (["--imagenet-classes"], "--imagenet-classes does not go with --format coco"),
        (["--format", "ade20k", "--imagenet-classes"], "does not go with --format ade20k"),
    ],
)
def test_bad_arguments(tmp_path, run, arguments, reason):
    status, output, error = run(tmp_path / "out", *arguments)
    assert (status, output) == (2, "")
    assert reason in error
    assert error.startswith("make_shapes.py: error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file(tmp_path, run):
    (tmp_path / "out").write_text("precious")
    status, _, error = run(tmp_path / "out")
    assert (status, error) == (2, f"make_shapes.py: error: {tmp_path}/out is not a folder\n")
    status, _, error = run(tmp_path / "out" / "below")
    assert status == 1
    assert error.count("\n") == 1
    assert "Not a directory" in error
    assert (tmp_path / "out").read_text() == "precious"
    status, _, error = run(tmp_path, "--format", "imagenet-c", "--val", 0)
    assert status == 0
    (tmp_path / "fog/2/star").rmdir()
    (tmp_path / "fog/2/star").write_text("precious")
    status, _, error = run(tmp_path, "--format", "imagenet-c")
    assert (status, error) == (2, f"make_shapes.py: error: {tmp_path}/fog/2/star is not a folder\n")
    assert (tmp_path / "fog/2/star").read_text() == "precious"


@pytest.mark.parametrize(
    ("limit", "culprit"),
    [(1000, r"train2017/000000000001.jpg"), (20_000, r"annotations/instances_train2017.json")],
)
def test_a_full_disk_is_told_and_leaves_no_partial_file(tmp_path, run, limit, culprit):
    """A limit on the size of files stands in for a full disk: the same error, mid-file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        status, output, error = run(tmp_path, "--train", 100, "--val", 0, "--size", "64x64")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (status, output) == (1, "")
    assert error.startswith("make_shapes.py: error: cannot write the data set: ")
    assert error.endswith(f"File too large: '{tmp_path / culprit}'\n")
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / culprit).exists()
    assert not list((tmp_path / "annotations").iterdir())
    assert run(tmp_path, "--train", 1, "--val", 1, "--size", "32x32")[0] == 0


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (lambda: os._exit(9), 1, "a worker process was killed"),
        (KeyboardInterrupt, 130, "interrupted: the data set is not complete"),
    ],
)
def test_a_run_that_is_stopped(tmp_path, run, monkeypatch, fault, status, reason):
    if fault is KeyboardInterrupt:
        monkeypatch.setattr(folders, "tqdm", lambda *_, **__: (_ for _ in ()).throw(fault))
    else:
        monkeypatch.setattr(folders, "_start_worker", fault)
    found, output, error = run(tmp_path, "--train", 4, "--val", 0, "--size", "32x32")
    assert (found, output) == (status, "")
    assert error.startswith(f"make_shapes.py: error: {reason}")
    assert not list((tmp_path / "annotations").iterdir())
