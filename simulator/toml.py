"""Settings as TOML: read, written, and changed by ``NAME=VALUE`` texts."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from simulator.errors import SettingsError
from simulator.textfile import read_text


def read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.") from None


def assign(tree: dict[str, Any], name: str, value: Any) -> None:
    """``tree["a"]["b"] = value`` for the name ``a.b``."""
    *sections, last = name.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise SettingsError(f"{name}: {section} is not a section of settings.")
    tree[last] = value


def assign_text(tree: dict[str, Any], text: str, example: str, option: str = "--set") -> None:
    """``assign`` of a ``NAME=VALUE`` given to ``option``. Raises ``SettingsError`` with the
    ``example``."""
    name, found, value = text.partition("=")
    if not found:
        raise SettingsError(f"{option} {text}: write NAME=VALUE, for example {example}.")
    assign(tree, name.strip(), literal(value.strip()))


def literal(text: str) -> Any:
    """A TOML value; what is not one (``awgn``, ``1/384``) or a date is a string."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, bool | int | float | str | list | dict) else text


def to_toml(tree: dict[str, Any], prefix: str = "") -> str:
    """Settings as TOML: scalars first, then sections. None values are left out."""
    lines, sections = [], []
    for key, value in tree.items():
        if isinstance(value, dict):
            path = prefix + _key(key)
            sections.append(f"\n[{path}]\n" + to_toml(value, f"{path}."))
        elif value is not None:
            lines.append(f"{_key(key)} = {_toml(value)}\n")
    return "".join(lines + sections)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    """JSON strings, numbers, booleans and lists of them are TOML, too, but for two escapes; what
    has names is a table in one line."""
    if isinstance(value, dict):
        pairs = (f"{_key(name)} = {_toml(each)}" for name, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
