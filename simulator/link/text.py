"""Text that files, messages and strict JSON parsers can hold.

A name on a disk is bytes, and not every one is UTF-8: Python keeps what is not as lone
surrogates, which neither UTF-8 nor JSON has.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import PurePath
from typing import Any

import msgspec

SURROGATE = re.compile("[\ud800-\udfff]")
ESCAPED_BYTE = range(0xDC80, 0xDD00)
HASH = 6  # hexadecimal digits that keep shortened names apart
KEPT_DIGITS = 8  # the same of pictures that are kept


def readable(text: str) -> str:
    """``text`` with what is no character written out: the byte D6 of a name as ``\\xd6``."""
    try:
        # In a locale without UTF-8 the bytes of a name that is UTF-8 are read one by one.
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return SURROGATE.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code - 0xDC00:02x}" if code in ESCAPED_BYTE else f"\\u{code:04x}"


def bounded_label(label: str) -> str:
    """A readable label, without the first folders where it has more than 200 characters."""
    label = readable(label)
    while len(label) > 200 and "/" in label:
        label = label.partition("/")[2]
    return label[:200]


def short_name(text: str, limit: int = 120) -> str:
    """Part of a file name, of at most ``limit`` bytes of UTF-8; different texts stay different.

    File systems take 255 bytes, and a name of Chinese characters has three for each.
    """
    text = readable(text)
    data = text.encode()
    if len(data) <= limit:
        return text
    digest = hashlib.sha256(data).hexdigest()[:HASH]
    return data[: limit - HASH - 1].decode("utf-8", "ignore") + f"-{digest}"


def kept_name(path: str, digest: str) -> str:
    """The file name of a picture that is kept: its own name, bounded, and what tells it from
    others of that name."""
    return f"{short_name(PurePath(path).stem)}-{digest[:KEPT_DIGITS]}.png"


def name_in_sweep(image: str) -> str:
    """The same of an original that a sweep keeps, by the ``image`` of its rows."""
    return kept_name(image, hashlib.sha256(readable(image).encode()).hexdigest())


def strict(value: Any) -> Any:
    """``value`` for JSON: numbers that are not finite are null, and texts are ``readable``."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, dict):
        return {strict(key): strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [strict(each) for each in value]
    return value


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON that every parser takes: no NaN, no Infinity, no lone surrogate."""
    return json.dumps(strict(value), indent=indent, allow_nan=False)


def row_to_json(row: dict[str, Any]) -> str:
    """As ``to_json`` for a row; ten times as fast for usual values."""
    try:
        return msgspec.json.encode(row).decode()
    except (TypeError, ValueError, OverflowError):  # a subclass, a lone surrogate, a huge number
        return to_json(row)
