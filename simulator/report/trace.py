"""``trace.json``: the steps of every frame, for chrome://tracing or Perfetto.

Each process's steps are placed by the moment it began on a frame, moved to the channel's
clock by the measured offset. ``clock_error_us`` says how far a process may be shifted. Of a long
run the first ``MAX_FRAMES`` are there: viewers take no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from simulator.link.rows import Row
from simulator.link.steps import STEPS, steps_of
from simulator.link.text import to_json

MAX_FRAMES = 5000


def chrome_trace(rows: Iterable[Row]) -> Iterator[str]:
    """The trace-event form as JSON, piece by piece: complete events ("X"), microseconds."""
    yield '{"displayTimeUnit": "ms", "traceEvents": ['
    separator = "\n"
    for row in islice(rows, MAX_FRAMES):
        for event in events(row):
            yield separator + to_json(event)
            separator = ",\n"
    yield "\n]}\n"


def events(row: Row) -> Iterator[dict[str, Any]]:
    for process in STEPS:
        for step in steps_of(process, row):
            yield {
                "name": step.name,
                "ph": "X",
                "ts": step.at_s * 1e6,
                "dur": step.seconds * 1e6,
                "pid": process if process != "rx" else row.get("receiver") or "rx",
                "tid": process,
                "args": {
                    "frame": row["frame_id"],
                    "image": row["image"],
                    "clock_error_us": 1e6 * (row.get(f"{process}_clock_error_s") or 0),
                },
            }
