"""Settings that a config misspells, told before or in place of what mm makes of them."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from types import FrameType, TracebackType
from typing import Any

from mmengine.config import Config
from mmengine.registry import OPTIMIZERS, Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from lsnet_mm.errors import InputError

# What is read of a config beside the runner's arguments: by mmengine, mmdet's and mmseg's tools,
# and here.
READ = (
    *("activation_checkpointing", "compile", "custom_imports", "efficient_conv_bn_eval"),
    *("find_unused_parameters", "model_wrapper_cfg", "runner_type", "sync_bn"),
    *("tta_model", "tta_pipeline", "on_bad_image"),
)
TOP_LEVEL = frozenset(inspect.signature(Runner).parameters) - {"cfg"} | frozenset(READ)

# From which likeness, 0 to 1, a key passes for another that is misspelt: at the top level, where
# configs have variables (of the 300 in mm's own none is so like a key of TOP_LEVEL), and below it.
ALIKE_AT_TOP = 0.91
ALIKE = 0.8


def check_keys(cfg: Mapping[str, Any]) -> None:
    """Check a config for top-level keys that are nearly, but not quite, what a runner reads.

    Other unknown keys are the config's own variables.

    Raises:
        InputError: Naming the first and what it should be.
    """
    for key in cfg:
        if key not in TOP_LEVEL and (near := get_close_matches(key, TOP_LEVEL, 1, ALIKE_AT_TOP)):
            raise InputError(
                f"the config sets {key}, which nothing reads: is it {near[0]}? (If it is a "
                "variable of your own, name it less alike.)"
            )


def check_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Check settings of the command line before they are merged into a config.

    A new key is an error where it cannot have an effect, at the top level, and where it is nearly
    one that is there. Arguments of a class may be new, as it takes more than a config sets: it
    tells on its own of those that it does not take.

    Args:
        cfg: The config.
        options: Values by dotted key.

    Raises:
        InputError: Naming the key and those alike.
    """
    for dotted in options:
        node, parts = cfg._cfg_dict, dotted.split(".")
        for depth, part in enumerate(parts):
            if not isinstance(node, dict):
                break  # an index of a list: merging tells if there is none
            if part not in node:
                if depth == 0 or "type" not in node:
                    _refuse_misspelt(dotted, part, node, at_top=depth == 0)
                break
            node = node[part]


def _refuse_misspelt(dotted: str, key: str, beside: Iterable[str], at_top: bool) -> None:
    known = {*beside, *TOP_LEVEL} if at_top else beside
    near = get_close_matches(key, known, 3, 0.6 if at_top else ALIKE)
    if key in known or not (at_top or near):
        return
    raise InputError(
        f"--cfg-options {dotted}: the config has no {key}"
        + (f": is it {' or '.join(near)}?" if near else "")
        + (" (a new key at the top level would have no effect)" if at_top else "")
    )


# What building raises.


@contextmanager
def explain_settings() -> Iterator[None]:
    """Put words to what mm's registries raise for names and arguments that do not exist.

    Raises:
        InputError: In their place; errors within a constructor are left as they are.
    """
    try:
        yield
    except (TypeError, KeyError, ValueError) as error:
        explained = _explain(str(error.args[0] if error.args else ""), error.__traceback__)
        if not explained:
            raise
        raise InputError(explained) from error


def _explain(message: str, traceback: TracebackType | None) -> str:
    """Say what is wrong with the settings, nothing if they are not to blame."""
    frames = list(_frames(traceback))
    if match := re.search(r"(\w+) is not in the (\S+) registry", message):
        registry = _innermost(frames, "registry")
        names = _names(registry) if isinstance(registry, Registry) else []
        return f"type={match[1]!r} is not known as a {match[2]}{_is_it(match[1], names)}"
    if "None is not a callable object" in message:  # mmengine's, of an optimizer
        settings = (frame.f_locals.get("optimizer_cfg") for frame in frames)
        if name := next((found.get("type") for found in settings if found), None):
            return f"type={name!r} is not known as an optimizer{_is_it(name, _names(OPTIMIZERS))}"
    if match := re.search(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword.* '(\w+)'", message):
        kind, given = _innermost(frames, "obj_cls", "scheduler_cls"), _innermost(frames, "args")
        if isinstance(given, dict) and match[2] in given:
            return _unexpected(kind.__name__, match[2], _arguments(kind))
        if match[1] == "DataLoader":
            return _unexpected("a data loader", match[2], _arguments(DataLoader))
    if match := re.search(r"(\w+)\.__init__\(\) missing \d+ required .*", message):
        kind = _innermost(frames, "obj_cls")
        if getattr(kind, "__name__", None) == match[1] and frames[-1].f_locals.get("obj_cls"):
            return match[0].replace(".__init__()", ":") + ": the config does not set it"
    # train_dataloader, train_cfg and optim_wrapper come together, and so do others
    return message if "should be either all None or not None" in message else ""


def _frames(traceback: TracebackType | None) -> Iterator[FrameType]:
    while traceback:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def _innermost(frames: list[FrameType], *names: str) -> Any:
    """A local variable, by the first of these names that there is, of the innermost build."""
    for frame in reversed(frames):
        if frame.f_code.co_name in ("build_from_cfg", "build_scheduler_from_cfg"):
            return next((frame.f_locals[name] for name in names if name in frame.f_locals), None)
    return None


def _names(registry: Registry) -> list[str]:
    """What a registry finds: its own classes, its parents' and its parents' other children's."""
    while registry.parent:
        registry = registry.parent
    return [*registry.module_dict, *(n for c in registry.children.values() for n in c.module_dict)]


def _arguments(kind: Any) -> list[str]:
    """Arguments of a class, or of a function; those that a class hands to its bases, too."""
    kinds = kind.__mro__ if inspect.isclass(kind) else [kind]
    names: dict[str, None] = {}
    for base in kinds:
        target = base.__dict__.get("__init__") if inspect.isclass(base) else base
        if inspect.isfunction(target):
            names |= dict.fromkeys(
                p.name
                for p in inspect.signature(target).parameters.values()
                if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"
            )
    return list(names)


def _unexpected(name: str, argument: str, known: list[str]) -> str:
    return f"{name} takes no {argument!r}{_is_it(argument, known)}; it takes {', '.join(known)}"


def _is_it(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, 1, 0.6)
    return f": is it {near[0]!r}?" if near else ""
