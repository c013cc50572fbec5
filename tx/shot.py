"""One picture of a source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simulator.images import Pixels

#: Whether a source shall end.
Stopped = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class Shot:
    """``content``: the name of a file, the bytes of one, or (H, W, 3) uint8 RGB."""

    name: str
    content: Path | bytes | Pixels
