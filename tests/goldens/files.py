"""Reading and writing ``NAME.json`` beside this file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def read(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def write(name: str, values: Any) -> Path:
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    return path
