"""Drawing predictions while testing, in each library's own terms."""

import os.path as osp

from mmengine.config import Config

from lsnet_mm.errors import InputError


def draw_predictions(cfg: Config, out_dir: str | None, show: bool, wait_time: float) -> None:
    """Have the config's visualization hook draw every test image.

    Args:
        cfg: Config of mmdet, mmseg or mmpretrain, told by ``default_scope``.
        out_dir: Folder for the pictures, or None.
        show: Open a window for each picture.
        wait_time: Seconds a window stays.

    Raises:
        InputError: If the config has no visualization hook.
    """
    hook = cfg.get("default_hooks", {}).get("visualization")
    if hook is None:
        raise InputError("--show, --show-dir: the config has no default_hooks.visualization")
    scope = cfg.get("default_scope")
    out_dir = osp.abspath(out_dir) if out_dir else None
    hook.update(show=show, wait_time=wait_time)
    if scope == "mmpretrain":
        hook.update(enable=True, interval=1, out_dir=out_dir)
    elif scope == "mmseg":
        hook.update(draw=True, interval=1)
        cfg.visualizer.save_dir = out_dir
    else:
        hook.update(draw=True, test_out_dir=out_dir)
