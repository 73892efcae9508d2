"""Settings as the text of a config, laid out as ruff does."""

import json
import textwrap
from collections.abc import Sequence
from typing import Any

WIDTH = 100
INDENT = 4


class Code(str):
    """An expression, to stand as it is."""


def assignment(name: str, value: Any) -> str:
    """Return ``name = value`` in lines of up to ``WIDTH`` characters, where they can be broken."""
    return f"{name} = {_broken(value, 0, len(name) + 3)}"


def comment(text: str) -> str:
    """Return a comment in lines of up to ``WIDTH`` characters."""
    return textwrap.fill(text, WIDTH, initial_indent="# ", subsequent_indent="# ")


def _broken(value: Any, indent: int, taken: int) -> str:
    """Return an expression that starts after ``taken`` characters and ends with its line."""
    line = expression(value)
    if taken + len(line) <= WIDTH or not isinstance(value, dict | list | tuple) or not value:
        return line
    inner = indent + INDENT
    opening, closing = {dict: ("dict(", ")"), list: ("[", "]"), tuple: ("(", ")")}[type(value)]
    lines = [opening]
    for prefix, item in _items(value):
        taken = inner + len(prefix) + 1  # with the comma
        lines.append(f"{' ' * inner}{prefix}{_broken(item, inner, taken)},")
    return "\n".join([*lines, " " * indent + closing])


def expression(value: Any) -> str:
    """Return an expression on one line."""
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, str):
        return repr(value) if '"' in value else json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        if value == 0 or abs(value) >= 1e-3:
            return repr(value)
        mantissa, exponent = f"{value:.5e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    items = [prefix + expression(item) for prefix, item in _items(value)]
    if isinstance(value, dict):
        return f"dict({', '.join(items)})"
    if isinstance(value, tuple):
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if isinstance(value, list):
        return f"[{', '.join(items)}]"
    return repr(value)


def _items(value: Any) -> Sequence[tuple[str, Any]]:
    """Return the parts of a collection with what stands before each; of others, none."""
    if isinstance(value, dict):
        return [("" if name.startswith("**") else f"{name}=", item) for name, item in value.items()]
    return [("", item) for item in value] if isinstance(value, list | tuple) else []
