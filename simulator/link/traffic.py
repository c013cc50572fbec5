"""How many bytes a process has sent and received over the link."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass
class Traffic:
    """Bytes of whole messages, without what ZeroMQ, TCP and encryption add."""

    sent: int = 0
    received: int = 0


def size_of(parts: Iterable[Any]) -> int:
    """Bytes of a message."""
    return sum(memoryview(part).nbytes for part in parts)
