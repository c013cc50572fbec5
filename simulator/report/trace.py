"""``trace.json``: the spans of every frame, for chrome://tracing or Perfetto.

Each process's spans are placed by the moment it began on a frame, moved to the channel's
clock by the measured offset; within a process they follow one another, and refining begins when
the frame's batch did. ``clock_error_us`` says how far a process may be shifted. Of a long run the
first ``MAX_FRAMES`` are there: viewers take no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from simulator.link.rows import Row
from simulator.link.text import to_json

REFINING = ("restore_s", "caption_s", "text_s", "diffusion_s", "vae_s")
SPANS = (
    ("tx", "tx_at_s", ("load_s", "grant_wait_s", "encode_s")),
    ("channel", "channel_at_s", ("airtime_observed_s", "channel_queue_s")),
    ("rx", "rx_at_s", ("rx_queue_s", "equalize_s", "decode_s", *REFINING, "score_s", "save_s")),
)


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
    for process, anchor, names in SPANS:
        at = row.get(anchor)
        if at is None:
            continue
        begun = False  # refining: by whichever of its steps this receiver has
        for name in names:
            duration = row.get(name)
            if duration is None:
                continue
            if name in REFINING and not begun:
                at, begun = max(at, row.get("refine_at_s") or at), True
            yield {
                "name": name.removesuffix("_s"),
                "ph": "X",
                "ts": at * 1e6,
                "dur": duration * 1e6,
                "pid": process if process != "rx" else row.get("receiver") or "rx",
                "tid": process,
                "args": {
                    "frame": row["frame_id"],
                    "image": row["image"],
                    "clock_error_us": 1e6 * (row.get(f"{process}_clock_error_s") or 0),
                },
            }
            at += duration
