"""Files that a user names, and those that cannot be used."""

import cv2
import numpy as np
import pytest
from PIL import Image

from lsnet_mm.errors import InputError
from lsnet_mm.inference.inputs import Video, find_sources


def write(path, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def test_files_folders_and_patterns(tmp_path):
    for name in ("a/12.jpg", "a/deep/12.png", "b/7.jpg", "b/x.JPG"):
        write(tmp_path / name)
    (tmp_path / "a/notes.txt").write_text("none")
    found = find_sources([str(tmp_path / "b/7.jpg"), str(tmp_path / "a")])
    assert [s.name for s in found] == ["7.jpg", "12.jpg", "deep/12.png"]
    assert [s.stem for s in found] == ["7", "12", "deep/12"]
    assert [s.image_id for s in found] == [1, 2, 3]  # as two have the number 12
    found = find_sources([str(tmp_path / "**/*.jpg"), str(tmp_path / "a/12.jpg")])
    assert [(s.name, s.image_id) for s in found] == [("12.jpg", 12), ("7.jpg", 7)]
    found = find_sources([str(tmp_path / name) for name in ("a/12.jpg", "a/deep/12.png", "b")])
    assert [s.stem for s in found] == ["12", "12_2", "7", "x"]
    assert not any(s.is_video for s in found)


def test_names_are_told_apart_whatever_comes_first(tmp_path):
    for name in ("p/x.jpg", "q/x.jpg", "x_2.jpg"):
        write(tmp_path / name)
    found = find_sources([str(tmp_path / name) for name in ("p/x.jpg", "q/x.jpg", "x_2.jpg")])
    assert len({s.stem for s in found}) == 3


def test_what_is_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no images in this folder"):
        find_sources([str(tmp_path / "empty")])
    for name in ("none.jpg", "none*.jpg"):
        with pytest.raises(InputError, match=r"none.*jpg: no such file or folder"):
            find_sources([str(tmp_path / name)])


def test_video_frames(tmp_path):
    path = tmp_path / "x.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for value in (0, 100, 200):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.release()
    video = Video(path)
    assert (video.fps, video.frames) == (10, 3)
    means = [frame.mean() for frame in video]
    assert means == pytest.approx([0, 100, 200], abs=3)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"movi") + 4])
    with pytest.raises(InputError, match="no frame of the video can be decoded"):
        list(Video(path))
    path.write_bytes(b"no video")
    with pytest.raises(InputError, match="the video cannot be opened"):
        Video(path)
