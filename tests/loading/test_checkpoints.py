"""Checkpoints and pickles as data: what must load does, what could run does not, and is named."""

import argparse
import io
import pickle
import threading
import tracemalloc
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import mmengine
import numpy as np
import pytest
import timm
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from lsnet_mm.errors import CheckpointError, UnsafeFileError
from lsnet_mm.loading import guarded_loading, load_pickle
from tests.loading.canary import WRITERS, Canary, write_checkpoint, write_getattr


def content(**others) -> dict:
    """What mm's and the authors' checkpoints hold."""
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    return (
        dict(
            state_dict=OrderedDict(weight=torch.arange(3.0), count=torch.tensor(2)),
            meta=dict(
                epoch=3,
                CLASSES=("a", "b"),
                env_info="sys.platform: linux",
                hook_msgs=dict(best_score=np.float64(0.5), last=np.int64(3), on=np.bool_(True)),
                dataset_meta=dict(palette=np.uint8([[1, 2, 3]]), names=np.array(["x", "yz"])),
            ),
            message_hub=dict(log_scalars=OrderedDict(loss=history), resumed_keys={"loss"}),
            optimizer=dict(state={0: dict(step=torch.tensor(1.0))}, param_groups=[dict(lr=0.1)]),
            args=argparse.Namespace(lr=1e-3, model="lsnet_t"),
        )
        | others
    )


def load(path: Path, trust: bool | None = None):
    with guarded_loading(trust):
        return CheckpointLoader.load_checkpoint(str(path), map_location="cpu")


@pytest.fixture
def torchs_list() -> Iterator[list]:
    """What torch's own reader takes; the test may change it."""
    before = list(torch.serialization.get_safe_globals())
    yield before
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_what_mm_and_the_authors_save_is_data(kind, tmp_path):
    WRITERS[kind](tmp_path / "a.pth", content())
    found = load(tmp_path / "a.pth")
    assert pickle.dumps(found["meta"]) == pickle.dumps(content()["meta"])
    assert found["state_dict"]["weight"].tolist() == [0, 1, 2]
    history = found["message_hub"]["log_scalars"]["loss"]
    assert (history.mean(), history.statistics("max"), history.current()) == (2, 3, 3)
    assert found["args"] == content()["args"]


@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
def test_numbers_of_either_numpy_are_read(package, tmp_path):
    given = dict(score=np.float32(0.5), counts=np.arange(3))
    data = pickle.dumps(given, protocol=2)
    for name in ("numpy.core", "numpy._core"):
        data = data.replace(f"c{name}.multiarray".encode(), f"c{package}.multiarray".encode())
    assert f"c{package}.".encode() in data
    write_checkpoint(tmp_path / "a.pth", data)
    found = load(tmp_path / "a.pth")
    assert found["score"] == given["score"]
    assert found["counts"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("where", ["state_dict", "meta", "message_hub", "optimizer", "args"])
def test_what_could_run_is_refused_wherever_it_is(kind, where, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "a.pth"
    WRITERS[kind](path, content(**{where: {"inner": [Canary(canary)]}}))
    with pytest.raises(CheckpointError) as raised:
        load(path)
    assert not canary.exists()
    assert str(path) in str(raised.value)
    if kind != "pickle":  # which is no checkpoint at all
        assert raised.type is UnsafeFileError
        assert {"tar": "tar archives"}.get(kind, "io.open") in str(raised.value)
        assert "--trust-checkpoint" in str(raised.value)
    with suppress(Exception):  # of the formats, not all are read to the end
        load(path, trust=True)
    assert canary.exists()


def test_functions_that_mmengine_allows_are_not_enough(tmp_path, torchs_list):
    canary, path = tmp_path / "canary", tmp_path / "a.pth"
    write_getattr(path, canary)
    with pytest.raises(UnsafeFileError, match=r"it needs builtins\.getattr, "):
        load(path)
    assert not canary.exists()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals([getattr])
    with suppress(AttributeError):
        torch.load(path, weights_only=True)
    assert canary.exists()  # torch's own reader, with mmengine's list, runs it


def test_mmengine_reads_checkpoints_by_itself(tmp_path):
    path = tmp_path / "a.pth"
    if torch.__version__ >= (2, 5):  # timm changes torch's list
        torch.save(dict(model={}, args=argparse.Namespace()), path)
        timm.models.load_state_dict(path)
    torch.save(content(), path)
    found = CheckpointLoader.load_checkpoint(str(path), map_location="cpu")
    assert found["message_hub"]["log_scalars"]["loss"].mean() == 2
    assert found["args"] == content()["args"]


@pytest.mark.filterwarnings("ignore:.torch:FutureWarning", "ignore:.torch.load:UserWarning")
def test_scripts_are_refused(tmp_path):
    path = tmp_path / "a.pth"
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), path)
    with pytest.raises(UnsafeFileError, match=r"a\.pth was not loaded: it needs TorchScript"):
        load(path)
    with guarded_loading(), pytest.raises(UnsafeFileError):
        torch.jit.load(path)


@pytest.mark.parametrize("explicit", [None, False])
def test_settings_of_torch_do_not_weaken_it(explicit, tmp_path, monkeypatch, torchs_list):
    canary, path = tmp_path / "canary", tmp_path / "a.pth"
    torch.save(Canary(canary), path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.serialization.add_safe_globals([open])
    with guarded_loading(), pytest.raises(UnsafeFileError, match=r"io\.open"):
        torch.load(path, weights_only=explicit)
    assert set(torch.serialization.get_safe_globals()) == {*torchs_list, open}
    assert not canary.exists()


def test_it_holds_within_its_block_and_thread_alone(tmp_path):
    path = tmp_path / "a.pth"
    torch.save(dict(number=complex, call=Canary(tmp_path / "canary")), path)
    found = []
    with guarded_loading():
        thread = threading.Thread(target=lambda: found.append(torch.load(path, weights_only=False)))
        thread.start()
        thread.join()
        with pytest.raises(UnsafeFileError):
            torch.load(path)
    assert found[0]["number"] is complex
    assert torch.load(path, weights_only=False)["number"] is complex


def test_an_inner_block_keeps_the_outer_ones_trust(tmp_path):
    torch.save(Canary(tmp_path / "canary"), tmp_path / "a.pth")
    with guarded_loading(True):
        load(tmp_path / "a.pth")
        with pytest.raises(UnsafeFileError):
            load(tmp_path / "a.pth", trust=False)


def test_pickles_of_predictions_are_data(tmp_path):
    given = [
        dict(
            img_path="a.jpg",
            size=torch.Size([3, 4]),
            pred_instances=dict(scores=torch.rand(2), labels=torch.tensor([1, 2])),
            masks=[dict(size=[2, 2], counts=b"\x00ab")],
            scale=np.float32([1, 2]),
        )
    ]
    found = load_pickle(io.BytesIO(pickle.dumps(given)))
    assert torch.equal(found[0]["pred_instances"]["scores"], given[0]["pred_instances"]["scores"])
    assert repr(found) == repr(given)


def test_memory_is_not_taken_for_what_a_pickle_announces():
    index = (1 << 24).to_bytes(4, "little")  # of a list kept to be referred to: the only one
    data = pickle.PROTO + b"\2" + pickle.EMPTY_LIST + pickle.LONG_BINPUT + index + pickle.STOP
    tracemalloc.start()
    assert load_pickle(io.BytesIO(data)) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 << 20  # where 256 MiB would do for the index


@pytest.mark.parametrize("inner", [False, True], ids=["itself", "within a tensor's storage"])
def test_pickles_that_could_run_are_refused(inner, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "a.pkl"
    data = pickle.dumps([Canary(canary)])
    if inner:
        buffer = io.BytesIO()
        torch.save(Canary(canary), buffer, _use_new_zipfile_serialization=False)
        data = pickle.dumps(Storage(buffer.getvalue()))
    path.write_bytes(data)
    with path.open("rb") as file, pytest.raises(UnsafeFileError, match=r"io\.open"):
        load_pickle(file)
    with guarded_loading(), pytest.raises(UnsafeFileError, match=r"io\.open"):
        mmengine.load(path)  # such as a list of annotations
    assert not canary.exists()
    with guarded_loading(True), path.open("rb") as file:
        load_pickle(file)
    assert canary.exists()


class Storage:
    """Pickles as the storage of a tensor does."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.data,)


def test_yaml_that_could_run_is_refused(tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "a.yaml"
    path.write_text(f"!!python/object/apply:builtins.open [{canary}, w]")
    with guarded_loading(), pytest.raises(Exception, match="could not determine a constructor"):
        mmengine.load(path)
    assert not canary.exists()
