"""A frame that a process is done with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Seen:
    """``values``: what the process knows of it, by the keys of rows; ``began_at``: when it began
    on it, by its own clock, None where that was in an earlier life of it."""

    frame_id: bytes
    status: str
    values: Mapping[str, Any]
    began_at: float | None
