"""Configs that travel in checkpoints and exported files, as data.

A config file is a program that its user has chosen. One that comes inside another file was not
chosen: it is read without running it, and builds nothing but parts of networks and transforms. That
takes more than not running it, as mm's registries import and call whatever a ``type`` names.
"""

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry, registry

from lsnet_mm.errors import InputError, UnsafeFileError

from .guards import replace, trusted

# Packages whose import and registries a carried config may ask for.
PACKAGES = ("lsnet_mm", "mmcv", "mmdet", "mmengine", "mmpretrain", "mmseg")
MODULE = re.compile(rf"({'|'.join(PACKAGES)}|torch\.nn)(\.\w+)*")
TYPE = re.compile(r"[A-Za-z]\w*")

# Where the classes live that it may build. Left out are those that run, import or unpickle what
# their arguments name: of Hugging Face, of other languages' text, of tracking, of medical images.
KNOWN = (
    *("lsnet_mm.models", "mmcv.cnn", "mmcv.ops", "mmcv.transforms", "mmengine.model", "torch.nn"),
    *("lsnet_mm.registry", "mmengine.utils.dl_utils.parrots_wrapper"),  # the latter has SyncBN
    *(
        f"mmdet.models.{part}"
        for part in (
            *("backbones", "data_preprocessors", "dense_heads", "detectors", "layers", "losses"),
            *("necks", "roi_heads", "seg_heads", "task_modules.assigners", "task_modules.coders"),
            *("task_modules.prior_generators", "task_modules.samplers"),
        )
    ),
    *("mmdet.datasets.transforms.formatting", "mmdet.datasets.transforms.transforms"),
    *(
        f"mmseg.models.{part}"
        for part in (
            *("assigners", "backbones", "data_preprocessor", "decode_heads", "losses", "necks"),
            "segmentors",
        )
    ),
    "mmseg.structures.sampler",
    *("mmseg.datasets.transforms.formatting", "mmseg.datasets.transforms.transforms"),
    *(f"mmpretrain.models.{part}" for part in ("backbones", "heads", "losses", "necks")),
    *("mmpretrain.models.classifiers.image", "mmpretrain.models.classifiers.timm"),
    "mmpretrain.models.utils",
    *("mmpretrain.datasets.transforms.formatting", "mmpretrain.datasets.transforms.processing"),
)

_carrier: ContextVar[str] = ContextVar("carrier", default="")  # file whose config is in use
_looking_up: ContextVar[bool] = ContextVar("looking_up", default=False)  # registries ask others


def config_of_text(_: Callable[..., Any], cfg_str: str, file_format: str) -> Config:
    """In place of ``Config.fromstring``: reads a config as mmengine writes it, and runs nothing.

    Args:
        cfg_str: Its text, of assignments of plain values, with ``dict(key=value)``.
        file_format: ``".py"``.

    Raises:
        UnsafeFileError: If it is more than data, or names a module or type that may not be used.
    """
    if file_format != ".py":
        raise _refusal(f"a config in the format {file_format!r}")
    try:
        cfg = dict(_assignment(statement) for statement in ast.parse(cfg_str).body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        if isinstance(error, UnsafeFileError):
            raise
        raise _refusal(f"more than data ({error})") from error
    _check_types(cfg.get("model"))
    for name in _imports(cfg):
        try:
            import_module(name)
        except ImportError as error:
            raise InputError(f"{_name()} needs the module {name}: {error}") from error
    return Config(cfg, cfg_text=cfg_str)


def _assignment(node: ast.stmt) -> tuple[str, Any]:
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        raise _not_data(node)
    (target,) = node.targets
    if not isinstance(target, ast.Name) or target.id.startswith("_"):  # _base_ names a file to run
        raise _not_data(node)
    return target.id, _value(node.value)


def _value(node: ast.expr) -> Any:
    """The value of a literal, in which a dict may be written ``dict(key=value)``."""
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys, values = map(_value, node.keys), map(_value, node.values)
        return dict(zip(keys, values, strict=True))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict" and not node.args:
        if any(entry.arg is None for entry in node.keywords):
            raise _not_data(node)
        return {entry.arg: _value(entry.value) for entry in node.keywords}
    kinds = {ast.List: list, ast.Tuple: tuple, ast.Set: set}
    if type(node) in kinds:
        return kinds[type(node)](map(_value, node.elts))
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise _not_data(node) from None


def _not_data(node: ast.AST) -> UnsafeFileError:
    line = ast.unparse(node).partition("\n")[0]
    return _refusal(f"to run {line[:80]!r} (line {node.lineno} of its text)")


def _imports(cfg: dict[str, Any]) -> list[str]:
    """Modules that a config asks to be imported.

    Raises:
        UnsafeFileError: If it may not ask for them.
    """
    found = (cfg.get("custom_imports") or {}).get("imports") or []
    names = [found] if isinstance(found, str) else list(found)
    for name in names:
        if not isinstance(name, str) or not MODULE.fullmatch(name):
            raise _refusal(f"the module {name!r}")
    return names


def _check_types(node: Any) -> None:
    """Check that a model's types are names: mmcv evaluates one as an expression, that of an NMS.

    Raises:
        UnsafeFileError: If one is not.
    """
    if isinstance(node, dict):
        if not _may_be_type(node.get("type", "None")):
            raise _refusal(f"the type {node['type']!r}")
        node = list(node.values())
    if isinstance(node, list | tuple):
        for value in node:
            _check_types(value)


def _may_be_type(name: Any) -> bool:
    return isinstance(name, str) and bool(TYPE.fullmatch(name) or MODULE.fullmatch(name))


@contextmanager
def carried_config(file: str | Path) -> Iterator[None]:
    """Read and build within the ``with`` block what a file's own config says, unless it is trusted.

    Only classes of ``KNOWN`` packages are built. Not for configs that a user has chosen: classes of
    their own would be refused.
    """
    replace(Registry, "get", _known_type, lambda: _is_building() and not _looking_up.get())
    replace(Registry, "switch_scope_and_registry", _known_scope, _is_building)
    replace(registry, "get_object_from_string", _known_object, _is_building)
    replace(Config, "fromfile", _refuse_config_file, _is_building)
    token = _carrier.set("" if trusted() else str(file))
    try:
        yield
    finally:
        _carrier.reset(token)


def _is_building() -> bool:
    return bool(_carrier.get())


def _name() -> str:
    return f"the config in {_carrier.get() or 'the checkpoint'}"


def _refusal(needs: str) -> UnsafeFileError:
    return UnsafeFileError(_name(), needs)


def _known_type(get: Callable[..., Any], registry: Registry, key: str) -> Any:
    if not _may_be_type(key):
        raise _refusal(f"the type {key!r}")
    token = _looking_up.set(True)
    try:
        found = get(registry, key)
    finally:
        _looking_up.reset(token)
    data_set = registry.name == "dataset"  # these are asked for their classes' names, and not built
    module = getattr(found, "__module__", "")
    function = "." in key and not isinstance(found, type)
    if found is None or data_set or (_is_known(module) and not function):
        return found
    raise _refusal(f"the type {key!r} of {module}")


def _known_scope(switch: Callable[..., Any], registry: Registry, scope: str | None) -> Any:
    if scope not in (None, *PACKAGES):  # its registry would be imported
        raise _refusal(f"the scope {scope!r}")
    return switch(registry, scope)


def _known_object(get: Callable[..., Any], name: str) -> Any:
    """In place of what registries import by name if they do not have it."""
    return get(name) if MODULE.fullmatch(name) else None


def _is_known(module: str) -> bool:
    return any(module == known or module.startswith(f"{known}.") for known in KNOWN)


def _refuse_config_file(_: Callable[..., Any], filename: Any, *args: Any, **options: Any) -> Config:
    raise _refusal(f"to run the config {filename}")
