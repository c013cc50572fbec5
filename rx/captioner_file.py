"""The file that makes a folder a captioner's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulator.link.text import to_json

MANIFEST = "captioner.json"


def write_manifest(folder: Path | str, **values: Any) -> None:
    """``captioner.json`` of a folder: ``name`` and the captioner's own values."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / MANIFEST).write_text(to_json(values, indent=2) + "\n", encoding="utf-8")
