"""Changes to bytes, and to trees of lists and dicts."""

import math
import struct
import zlib
from collections.abc import Callable
from copy import deepcopy
from io import BytesIO
from random import Random
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

ODD_VALUES = (
    *(None, True, False, 0, -1, 1, 2, 255, 256, 2**31, 2**32, -(2**31), 2**63, 2**64, 10**30),
    *(0.5, -0.0, 1e-300, 1e308, math.nan, math.inf, -math.inf, "", "x", "1", "nan", " ", "\0"),
    *("\ud800", "\N{SNOWMAN}", "../..", "/", "/dev/null", "a" * 300, [], {}, [[]], [{}], [None]),
    *([0], [1, 2], [1, 2, 3, 4], [-1, -1, 5, 5], {"": 0}, {"id": 1}, {"counts": "", "size": []}),
)


def change_bytes(data: bytes, random: Random) -> bytes:
    """Return bytes with one of the usual accidents."""
    at, end = sorted(random.randrange(len(data) + 1) for _ in "ab")
    few = min(len(data), at + random.choice((1, 1, 2, 4, 8, 100)))
    noise = random.randbytes(few - at)
    number = random.choice((0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF))
    flipped = bytes([data[at] ^ 1 << random.randrange(8)]) if at < len(data) else b""
    return random.choice(
        (
            lambda: data[:at] + flipped + data[at + 1 :],
            lambda: data[:at] + noise + data[few:],
            lambda: data[:at] + noise + data[at:],
            lambda: data[:at] + struct.pack(random.choice("<>") + "I", number) + data[at + 4 :],
            lambda: data[:at] + data[few:],
            lambda: data[:at] + data[end:],
            lambda: data[:end] + data[at:],
            lambda: data[:at],
            lambda: data[:at] + bytes(end - at) + data[end:],
            lambda: data + noise,
        )
    )()


def change_json(data: bytes, random: Random) -> bytes:
    """Return JSON's text with an accident, or with something that its grammar allows."""
    if random.random() < 0.7 or not data:
        return change_bytes(data, random)
    at = random.randrange(len(data))
    digits = [i for i in range(len(data)) if data[i : i + 1].isdigit()] or [at]
    digit = random.choice(digits)
    deep = random.choice((10, 2000, 200_000))
    return random.choice(
        (
            lambda: b"\xef\xbb\xbf" + data,
            lambda: data.decode("utf-8", "replace").encode(random.choice(("utf-16", "utf-32"))),
            lambda: b"[" * deep + data + b"]" * deep,
            lambda: data[:at] + b"[" * deep + data[at:],
            lambda: data[:digit] + b"9" * random.choice((18, 40, 400, 5000)) + data[digit:],
            lambda: data[:digit] + b"1e999" + data[digit + 1 :],
            lambda: data[:digit] + b"-" + data[digit:],
            lambda: data[:digit] + b"." + data[digit:],
            lambda: data[:digit] + b'"' + data[digit : digit + 1] + b'"' + data[digit + 1 :],
        )
    )()


def change_tree(tree: Any, random: Random, odd: Callable[[Random], Any]) -> Any:
    """Return a tree of lists and dicts with one node changed; the tree itself is changed too.

    Args:
        tree: What is changed.
        random: Where chance comes from.
        odd: Gives a value to put in place of another.
    """
    parent, nodes = None, tree
    while isinstance(nodes, dict | list) and nodes:  # down to some depth
        parent = nodes
        key = random.choice(list(nodes) if isinstance(nodes, dict) else range(len(nodes)))
        nodes = nodes[key]
        if random.random() < 0.15:
            break
    if parent is None:
        return odd(random)
    value = parent[key]
    how = random.randrange(9)
    if how == 0:
        del parent[key]
    elif how == 1 and isinstance(parent, list):
        parent.insert(key, value)
    elif how == 1 or (how == 2 and isinstance(parent, dict)):
        other = random.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
        parent[key], parent[other] = parent[other], value
    elif how == 3:
        parent[key] = random.choice(([value], {"id": value}, str(value), [value, value]))
    elif how < 6 and isinstance(value, int | float) and math.isfinite(value):
        steps = (value + 1, value - 1, -value, value * 1000, value * 10**9, value / 3, float(value))
        parent[key] = random.choice(steps)
    elif how < 6 and isinstance(value, str) and value:
        parent[key] = change_text(value, random)
    else:
        parent[key] = odd(random)
    return tree


def change_text(text: str, random: Random) -> str:
    """Return a text with a character or a few changed."""
    at = random.randrange(len(text))
    some = chr(random.choice((0, 32, 47, 48, 63, 64, 95, 111, 112, 127, 233, 0x1F600)))
    cut = (text[:at], text[:at] + text[at + 1 :], text + text, text[at:] + text[:at])
    return random.choice((*cut, text[:at] + some + text[at + 1 :], text[:at] + some + text[at:]))


def odd_value(random: Random) -> Any:
    """Return a value that a JSON file can hold, and no data set should."""
    return deepcopy(random.choice(ODD_VALUES))  # another change may be to what is within it


def change_zip(data: bytes, random: Random) -> bytes:
    """Return a zip file with a change to one of its members, checksums made to fit."""
    try:
        with ZipFile(BytesIO(data)) as file:
            members = [(name, file.read(name)) for name in file.namelist()]
    except (BadZipFile, ValueError, NotImplementedError, OSError, EOFError, zlib.error):
        return change_bytes(data, random)  # an earlier change has damaged it
    if not members:
        return change_bytes(data, random)
    small = [i for i, (name, _) in enumerate(members) if not name.split("/")[-1].isdecimal()]
    i = random.choice(small if small and random.random() < 0.8 else range(len(members)))
    name, content = members[i]
    how = random.randrange(8)
    if how == 0:
        del members[i]
    elif how == 1:
        members[i] = (change_text(name, random), content)
    elif how == 2:
        members[i] = (name, random.choice(members)[1])
    else:
        members[i] = (name, change_bytes(content, random))
    out = BytesIO()
    with ZipFile(out, "w", ZIP_STORED) as file:
        for name, content in members:
            file.writestr(name.replace("\0", "") or "x", content)
    return out.getvalue()


def change_png(data: bytes, random: Random) -> bytes:
    """Return a PNG with a change within a chunk, its checksum made to fit."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((at, data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return change_bytes(data, random)
    start, kind, body = random.choice(chunks)
    if kind == b"IDAT" and random.random() < 0.5:
        try:
            body = zlib.compress(change_bytes(zlib.decompress(body), random))
        except zlib.error:
            body = change_bytes(body, random)
        new = body
    else:
        new = change_bytes(body, random)
    (length,) = struct.unpack_from(">I", data, start)
    checked = kind + new
    chunk = struct.pack(">I", len(new)) + checked + struct.pack(">I", zlib.crc32(checked))
    return data[:start] + chunk + data[start + 12 + length :]
