"""Configs for a user's own data, written from what its folder holds."""

from .run import write_config

__all__ = ["write_config"]
