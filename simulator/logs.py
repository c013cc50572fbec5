"""Log lines of the three processes on standard error: for people, or one JSON object a line."""

from __future__ import annotations

import logging
import shutil
from datetime import UTC, datetime
from typing import Any, TextIO

from simulator.link.text import to_json

FORMATS = ("text", "json")
ERASE = "\r\x1b[K"  # of the line that the cursor is in


class LiveHandler(logging.StreamHandler[TextIO]):
    """Log lines, and below them on a terminal one line that is written again and again."""

    def __init__(self) -> None:
        super().__init__()
        self._live = ""

    @property
    def on_terminal(self) -> bool:
        return self.stream.isatty()

    def emit(self, record: logging.LogRecord) -> None:
        if self._live:
            self.stream.write(ERASE)
        super().emit(record)
        if self._live:
            self.stream.write(self._live)
            self.flush()

    def show(self, text: str) -> None:
        """The live line, cut to the terminal; empty: none."""
        self.acquire()
        try:
            self._live = text[: shutil.get_terminal_size().columns - 1]
            self.stream.write(ERASE + self._live)
            self.flush()
        finally:
            self.release()


class JsonLines(logging.Formatter):
    """``time`` (UTC), ``process``, ``level``, ``message``; ``frame_id`` and ``traceback`` where
    there are any. ``frame_id`` is hexadecimal, as in ledgers and rows."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "process": record.name,
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if frame_id := getattr(record, "frame_id", None):
            line["frame_id"] = frame_id
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return to_json(line)


def of_frame(frame_id: bytes | None) -> dict[str, str]:
    """``extra`` of a log line that may be about one frame."""
    return {"frame_id": frame_id.hex()} if frame_id else {}


def start_logging(name: str, form: str = "text") -> logging.Logger:
    """The logger of a process; ``form`` is one of ``FORMATS``.

    What is said of every frame (level DEBUG) is for machines: as text it would hide the rest.
    """
    handler = LiveHandler()
    handler.setFormatter(
        JsonLines()
        if form == "json"
        else logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s")
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    log = logging.getLogger(name)
    log.setLevel(logging.DEBUG if form == "json" else logging.INFO)
    return log
