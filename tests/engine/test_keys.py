"""Misspelt settings, in configs and on the command line."""

import pytest

from lsnet_mm.engine.keys import explain_settings
from lsnet_mm.engine.run import load_config
from lsnet_mm.errors import InputError
from tests.conftest import ROOT
from tests.engine.test_run import SHAPES, arguments, run_train


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("train_dataloder.batch_size=4", "has no train_dataloder: is it train_dataloader"),
        ("optim_wraper.optimizer.lr=1", "has no optim_wraper: is it optim_wrapper"),
        ("batch_size=4", "has no batch_size (a new key at the top level would have no effect)"),
        (
            "model.test_cfg.score_thrr=0.1",
            "model.test_cfg.score_thrr: the config has no score_thrr",
        ),
        ("train_dataloader.num_worker=1", "has no num_worker: is it num_workers?"),
        ("default_hooks.chekpoint.interval=2", "has no chekpoint: is it checkpoint?"),
        ("train_dataloader.dataset.pipeline.9.scale=3", "--cfg-options do not fit the config"),
        ("model.backbone.arch.x.y=3", "--cfg-options do not fit the config"),
    ],
)
def test_misspelt_options_are_refused(option, message, tmp_path):
    config = SHAPES if "arch.x" not in option else str(ROOT / "configs/lsnet_t_shapes.py")
    with pytest.raises(InputError) as raised:
        load_config(arguments(config, tmp_path, option))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "option",
    [
        "on_bad_image=skip",
        "find_unused_parameters=True",
        "experiment_name=one",
        "model.backbone.with_cp=True",
        "train_dataloader.prefetch_factor=4",
        "default_hooks.checkpoint.save_best=auto",
        "optim_wrapper.clip_grad.max_norm=1",
        "train_dataloader=None",
        "randomness.deterministic=True",
        "model.test_cfg.nms.max_num=5",
    ],
)
def test_new_keys_that_can_be_meant_pass(option, tmp_path):
    load_config(arguments(SHAPES, tmp_path, option))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "train_dataloder = dict(batch_size=4)",
            "sets train_dataloder, which nothing reads: is it",
        ),
        ("defualt_hooks = dict()", "is it default_hooks?"),
        ("a = b", "cannot be read as a config: NameError: name 'b' is not defined"),
        ("_base_ = 'none.py'", "cannot be read as a config: FileNotFoundError"),
    ],
)
def test_config_files_that_do_not_fit(text, message, tmp_path):
    config = tmp_path / "config.py"
    base = "" if "_base_" in text else f"_base_ = {SHAPES!r}\n"
    config.write_text(base + text)
    with pytest.raises(InputError) as raised:
        load_config(arguments(str(config), tmp_path))
    assert message in str(raised.value)


def test_all_configs_have_known_keys(tmp_path):
    """Their own variables are not taken for slips."""
    for path in [*(ROOT / "configs").glob("*_t_*.py"), *(ROOT / "configs/baselines").glob("*")]:
        load_config(arguments(str(path), tmp_path))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.backbone.archh=s", "LSNet takes no 'archh': is it 'arch'?; it takes arch, "),
        (
            "model.backbone.type=LSNett",
            "type='LSNett' is not known as a mmdet::model: is it 'LSNet'",
        ),
        ("model.bakbone.arch=s", "RetinaNet takes no 'bakbone': is it 'backbone'?"),
        (
            "train_dataloader.dataset.anno_file=a.json",
            "CocoDataset takes no 'anno_file': is it 'ann_file'?",
        ),
        ("train_dataloader.workers=1", "a data loader takes no 'workers': is it 'num_workers'?"),
        ("optim_wrapper.optimizer.learning=1", "AdamW takes no 'learning'; it takes params, lr"),
        (
            "optim_wrapper.optimizer.type=AdamV",
            "type='AdamV' is not known as an optimizer: is it 'Adam",
        ),
        ("param_scheduler.1.T_maxx=8", "CosineAnnealingLR takes no 'T_maxx': is it 'T_max'?"),
        ("train_cfg.max_epoch=3", "takes no 'max_epoch': is it 'max_epochs'?"),
        ("train_dataloader=None", "should be either all None or not None"),
    ],
)
def test_misspelt_arguments_are_named(option, message, shapes, tmp_path):
    with pytest.raises(InputError) as raised:
        run_train(arguments(SHAPES, tmp_path, f"data_root={shapes}/", option))
    assert message in str(raised.value)


def test_arguments_that_are_missing_are_named(shapes, tmp_path):
    config = tmp_path / "hook.py"
    config.write_text(f"_base_ = {SHAPES!r}\ncustom_hooks = [dict(type='AdaptiveClipHook')]\n")
    with pytest.raises(InputError, match=r"AdaptiveClipHook: missing .*'factor'.* does not set it"):
        run_train(arguments(str(config), tmp_path, f"data_root={shapes}/"))


def test_errors_within_constructors_stay_as_they_are():
    def slip() -> None:
        raise TypeError("Inner.__init__() got an unexpected keyword argument 'x'")

    with pytest.raises(TypeError, match="Inner"), explain_settings():
        slip()
    with pytest.raises(KeyError), explain_settings():
        {}["a"]
