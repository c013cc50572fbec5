"""The steps of a frame in each process, as its row tells them: which, when, for how long.

Within a process steps follow one another from the moment at which it began on the frame, and
refining begins when the frame's batch did.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simulator.link.rows import Row

REFINING = ("restore_s", "caption_s", "text_s", "diffusion_s", "vae_s")
#: By process: the key of a row that says when it began, by the channel's clock, and its steps.
STEPS = {
    "tx": ("tx_at_s", ("load_s", "grant_wait_s", "encode_s")),
    "channel": ("channel_at_s", ("airtime_observed_s", "channel_queue_s")),
    "rx": ("rx_at_s", ("rx_queue_s", "equalize_s", "decode_s", *REFINING, "score_s", "save_s")),
}


@dataclass(frozen=True)
class Step:
    """``at_s``: by the channel's clock."""

    name: str
    at_s: float
    seconds: float


def steps_of(process: str, row: Row) -> Iterator[Step]:
    """What the row knows of a frame in one process; nothing where it has no moment of it."""
    anchor, keys = STEPS[process]
    at = row.get(anchor)
    if at is None:
        return
    begun = False  # refining: by whichever of its steps this receiver has
    for key in keys:
        seconds = row.get(key)
        if seconds is None:
            continue
        if key in REFINING and not begun:
            at, begun = max(at, row.get("refine_at_s") or at), True
        yield Step(key.removesuffix("_s"), at, seconds)
        at += seconds
