"""What the door takes at most, of anything."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.images import MAX_FILE_BYTES, MAX_PIXELS

MAX_WAITING = 16
MAX_TIMEOUT_S = 600.0
BODIES = 2  # the largest, in memory at once
CLOSE_S = 2.0  # for a frame that is being given to the link when the door closes


@dataclass(frozen=True)
class Limits:
    """``max_waiting``: requests for a frame at once; times are in seconds, of one request."""

    max_bytes: int = MAX_FILE_BYTES
    max_pixels: int = MAX_PIXELS
    max_waiting: int = MAX_WAITING
    headers_s: float = 10.0
    body_s: float = 30.0
    answer_s: float = 60.0

    @property
    def connections(self) -> int:
        """Others than frames are short, and refusals need a connection, too."""
        return 2 * self.max_waiting + 16
