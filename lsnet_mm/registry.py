"""Registration of classes whose modules are imported only when a config asks for them."""

from importlib import import_module
from typing import Any

from mmengine.registry import Registry


def register_on_demand(registry: Registry, name: str, module: str) -> None:
    """Register ``module.name`` without importing ``module``, which may bring in a whole library.

    Args:
        registry: A root registry, such as ``mmengine.registry.MODELS``.
        name: Of the class, and its ``type`` in configs.
        module: Full name of the module that defines it.
    """

    def build(**cfg: Any) -> Any:
        return getattr(import_module(module), name)(**cfg)

    registry.register_module(name=name, module=build)
