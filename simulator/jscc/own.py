"""Codecs that plugins add, by name, with the sha256 of the file that each stands in."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

OWN: dict[str, str] = {}


def source_sha256(made: Any) -> str:
    """Of the file that a function or a class stands in; empty where there is none."""
    file = getattr(sys.modules.get(made.__module__), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
