"""The keys of a result row, in the order of ``results.csv``.

Seconds are durations on one process's monotonic clock. Quality keys are null where a metric
is undefined or unavailable. ``cbr`` is the ratio asked for; ``bandwidth_ratio`` counts pilots,
padding and the channel uses S that side information is charged: (K + P + S) / (3 H W). Of two
users that are superposed, ``superposed_with`` is the frame id of the other one's frame, ``share``
this one's part of the power, ``sinr_db`` what its decoder was given, ``received_snr_db`` without
the other one, and channel uses that both have sent in count half for each. Frames that
were refined together carry the seconds of their batch, each of them: restore_s, caption_s, text_s,
diffusion_s, vae_s.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from fractions import Fraction
from statistics import fmean
from typing import Any

from simulator.link.text import strict

#: A result row; a dictionary, or a view of a table (``rowtable``).
Row = Mapping[str, Any]
POINT = ("channel", "cbr", "snr_db")
WHAT = [
    "run",
    "frame_id",
    "status",
    "attempts",
    "reason",
    "image",
    "repeat",
    "height",
    "width",
    "notes",
    "codec",
    "model",
    "k",
    "pilots",
    "side_uses",
    "cbr",
    "bandwidth_ratio",
    "superposed_with",
    "share",
    "overhead_bytes",
    "returned_bytes",
    "channel",
    "csit",
    "csir",
    "snr_db",
    "h_abs2",
    "received_snr_db",
    "sinr_db",
    "papr_db",
    "packets_lost",
    "feedback_bits",
    "seed",
    "receiver",
    "caption",
    "solver",
    "steps",
    "guidance_scale",
]
METRICS = ["psnr", "ssim", "ms_ssim", "lpips"]
QUALITY = [f"{metric}_{stage}" for stage in ("preview", "refined") for metric in METRICS]
TIMES = [
    "load_s",
    "encode_s",
    "grant_wait_s",
    "wire_s",
    "channel_queue_s",
    "airtime_modelled_s",
    "airtime_observed_s",
    "rx_queue_s",
    "equalize_s",
    "decode_s",
    "restore_s",
    "caption_s",
    "text_s",
    "diffusion_s",
    "vae_s",
    "return_s",
    "save_s",
    "score_s",
    "time_to_preview_s",
    "time_to_refined_s",
]
ENERGY = ["encode_j"]  # of tx's processors, where tx.edge measures it
FILES = ["preview_file", "refined_file"]
ROW_KEYS = (*WHAT, *QUALITY, *TIMES, *ENERGY, *FILES)

# Anchors of the trace, by the channel's clock, and how far they may be off (half the round trip
# the offset was measured by); in the ledgers only.
ANCHORS = (
    "tx_at_s",
    "channel_at_s",
    "rx_at_s",
    "refine_at_s",
    "tx_clock_error_s",
    "rx_clock_error_s",
)


def make_row(**values: Any) -> dict[str, Any]:
    """A row with every key, null where nothing is given. Raises ``KeyError`` for a stranger."""
    row: dict[str, Any] = dict.fromkeys((*ROW_KEYS, *ANCHORS))
    for key, value in values.items():
        if key not in row:
            raise KeyError(f"{key} is not a key of a result row")
        row[key] = value
    return row


def public(row: Row) -> dict[str, Any]:
    """A row without what only the trace needs, as JSON can say it."""
    return {key: strict(row.get(key)) for key in ROW_KEYS}


def by_point(rows: Iterable[Row]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows grouped by (channel, cbr, snr_db), in the order of first appearance."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row.get(key) for key in POINT)].append(row)
    return dict(groups)


def is_lost(row: Row) -> bool:
    """Whether a frame was refused or given up. One that made way for a newer one is dropped."""
    return row["status"] not in ("delivered", "dropped")


def snr_text(snr_db: float | None) -> str:
    """For people; None where a trace has it."""
    return "SNR trace" if snr_db is None else f"{snr_db:g} dB"


def sent_less(row: Row) -> bool:
    """Whether fewer symbols were sent than ``cbr`` allows, as under rate control."""
    k, cbr = row.get("k"), row.get("cbr")
    if k is None or not cbr or not row.get("height"):
        return False
    return bool(k < 0.99 * Fraction(cbr) * 3 * row["height"] * row["width"])


def ratio_text(ratio: float | None) -> str:
    """For people; pilots and padding make 1/381 of 1/384."""
    return "-" if not ratio else f"1/{1 / ratio:.0f}"


def values_of(rows: Iterable[Row], key: str) -> list[float]:
    found = [row.get(key) for row in rows]
    return [float(v) for v in found if v is not None and math.isfinite(v)]


def mean_over_images(rows: Iterable[Row], key: str) -> float | None:
    """Repeats of an image are averaged first: one that was lost more often counts no less. None
    where there is no value."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.get("image")].append(row)
    means = [fmean(values) for group in groups.values() if (values := values_of(group, key))]
    return fmean(means) if means else None


def for_row(value: float | None) -> float | None:
    """A metric as it stands in a row: six decimals, as many as single precision has; null where
    it is undefined."""
    return round(value, 6) if value is not None and math.isfinite(value) else None
