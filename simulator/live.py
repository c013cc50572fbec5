"""What a process is doing, in one line: live on a terminal, now and then elsewhere."""

from __future__ import annotations

import logging
from collections import deque

from simulator.logs import LiveHandler

READY = "ready for frames"  # what a receiver says that has loaded everything
TERMINAL_PAUSE_S = 0.5
LOG_PAUSE_S = 30.0
RATE_WINDOW_S = 60.0


class Live:
    """The line of one process. ``due`` first: making the text costs time, too."""

    def __init__(self, log: logging.Logger, now: float) -> None:
        self._log = log
        found = [each for each in logging.getLogger().handlers if isinstance(each, LiveHandler)]
        self._terminal = found[0] if found and found[0].on_terminal else None
        self._pause_s = TERMINAL_PAUSE_S if self._terminal else LOG_PAUSE_S
        self._shown_at, self._text = now, ""

    def due(self, now: float) -> bool:
        return now - self._shown_at >= self._pause_s

    def show(self, text: str, now: float) -> None:
        self._shown_at = now
        if self._terminal:
            self._terminal.show(text)
        elif text != self._text:  # a log is not told twice that nothing has changed
            self._log.info("%s", text)
        self._text = text

    def close(self) -> None:
        if self._terminal:
            self._terminal.show("")


class Rate:
    """How many a second, over the last minute."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def per_s(self, done: int, now: float) -> float | None:
        """None where nothing was done."""
        self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[0][0] > RATE_WINDOW_S:
            self._marks.popleft()
        since, before = self._marks[0]
        return (done - before) / (now - since) if now > since and done > before else None


def rate_text(per_s: float | None) -> str:
    """``, 3.2 frames/s``, or seconds for each where it takes longer; empty where not known."""
    if per_s is None:
        return ""
    if per_s < 0.2:
        return f", {1 / per_s:.0f} s per frame"
    return f", {per_s:.0f} frames/s" if per_s >= 100 else f", {per_s:.3g} frames/s"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
