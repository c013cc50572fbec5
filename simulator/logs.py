"""Log lines of the three processes on standard error: for people, or one JSON object a line."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from simulator.link.text import to_json

FORMATS = ("text", "json")


class JsonLines(logging.Formatter):
    """``time`` (UTC), ``process``, ``level``, ``message``; ``frame`` and ``traceback`` where
    there are any. A frame is the hexadecimal frame id of ledgers and rows."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "process": record.name,
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if frame := getattr(record, "frame", None):
            line["frame"] = frame
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return to_json(line)


def of_frame(frame_id: bytes | None) -> dict[str, str]:
    """``extra`` of a log line that may be about one frame."""
    return {"frame": frame_id.hex()} if frame_id else {}


def start_logging(name: str, form: str = "text") -> logging.Logger:
    """The logger of a process; ``form`` is one of ``FORMATS``."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonLines()
        if form == "json"
        else logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s")
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    return logging.getLogger(name)
