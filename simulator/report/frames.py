"""What happens to a frame: its symbols on the air, and where its time goes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median

import numpy as np

from simulator.link.rows import Row, values_of
from simulator.report import figures
from simulator.report.air import Levels, levels_of, responses
from simulator.report.constellation import Constellation, constellation_of
from simulator.report.markup import Html, element, note, section, table
from simulator.report.records import Point, order, point_of, point_text, spread
from simulator.report.results import p95
from simulator.report.sources import Sources

CLOUDS = 3

# Stages in the order of a frame's way, and whose clock measured them. The modelled airtime is
# booked, not waited for, unless channel.airtime says sleep: then it is the observed one.
STAGES = (
    ("load", "load_s", "tx"),
    ("grant wait", "grant_wait_s", "tx"),
    ("encode", "encode_s", "tx"),
    ("wire", "wire_s", "link"),
    ("airtime", "airtime_observed_s", "channel"),
    ("channel queue", "channel_queue_s", "channel"),
    ("rx queue", "rx_queue_s", "rx"),
    ("equalise", "equalize_s", "rx"),
    ("decode", "decode_s", "rx"),
    ("restore", "restore_s", "rx"),
    ("caption", "caption_s", "rx"),
    ("text features", "text_s", "rx"),
    ("diffusion", "diffusion_s", "rx"),
    ("VAE", "vae_s", "rx"),
    ("score", "score_s", "rx, clock stopped"),
    ("save", "save_s", "rx, clock stopped"),
)


def constellations(sources: Sources) -> Html:
    """One frame at a few operating points: sent, received, equalised."""
    firsts: dict[Point, Row] = {}
    for row in sources.rows:
        if row["status"] == "delivered":
            firsts.setdefault(point_of(row), row)
    parts: list[Html] = []
    for row in spread([firsts[p] for p in sorted(firsts, key=order)], CLOUDS):
        found = constellation_of(row, sources)
        what = f"{Path(row['image'] or '').name}, {point_text(point_of(row))}"
        parts.append(
            note(f"{what}: no constellation; {found}.")
            if isinstance(found, str)
            else clouds(found, what, row)
        )
    if not parts:
        parts = [note("No frame was delivered by a run, so there is none to draw.")]
    return section("Constellation", parts)


def clouds(found: Constellation, what: str, row: Row) -> Html:
    reach = 1.25 * max(
        float(np.quantile(np.abs(symbols), 0.99))
        for symbols in (found.sent, found.received, found.equalised)
    )
    titles = (("sent", found.sent), ("received", found.received), ("equalised", found.equalised))
    drawn = [
        element("div", element("b", title), figures.cloud(
            symbols, reach, f"Constellation of {what}, {title}: {len(symbols)} "
            f"symbols of mean power {np.mean(np.abs(symbols) ** 2):.2f}"))
        for title, symbols in titles
    ]  # fmt: skip
    told = words_of(found, what, row)
    return element(
        "figure",
        element(
            "div",
            element("div", drawn, class_="clouds"),
            responses(air_of(found), what),
        ),
        element("figcaption", told),
        class_="constellation",
    )


def air_of(found: Constellation) -> list[Levels]:
    """What multipath did to the frame."""
    k = len(found.sent) // found.rounds
    first = np.concatenate([found.law.pilot_symbols(k), found.sent[:k]])
    return levels_of(found.law, found.h, first, k)


def words_of(found: Constellation, what: str, row: Row) -> str:
    """What stands below a constellation."""
    gain = f"|h|² = {np.mean(np.abs(found.h) ** 2):.2f}"
    if len(found.h) == 1:
        gain += f", phase {np.degrees(np.angle(found.h[0])):.0f}°"
    told = (
        f"{what}: {len(found.sent)} symbols, {gain}, received SNR {found.received_snr_db:.1f} dB, "
        f"PAPR {found.papr_db:.1f} dB; "
        f"error after equalisation {found.error_db:.1f} dB. The circle has radius 1. "
    )
    told += (
        "This frame's own symbols, gain and noise, computed again from the run's seed; the SNR "
        "agrees with the one that was measured."
        if found.exact
        else "Computed from the run's settings, but not this frame's own draws: its source file or "
        f"the channel's settings are not here (measured SNR {measured(row)})."
    )
    return told


def measured(row: Row) -> str:
    snr = row["received_snr_db"]
    return "not known" if snr is None else f"{snr:.1f} dB"


def waterfall(rows: Sequence[Row]) -> Html:
    """Median and p95 of each stage, each bar beginning where the medians before it end.

    A stage that took no time in any frame did not run, and is left out.
    """
    delivered = [row for row in rows if row["status"] == "delivered"]
    found = [
        (name, median(values), p95(values), who)
        for name, key, who in STAGES
        if any(values := values_of(delivered, key))
    ]
    if not found:
        return section("Latency", note("No durations: no frame was delivered by a run."))
    starts = list(accumulate((middle for _, middle, _, _ in found), initial=0.0))
    whole = max(start + max(m, high) for start, (_, m, high, _) in zip(starts, found, strict=False))
    lines = [
        element(
            "tr",
            element("th", name, element("small", who), scope="row"),
            element("td", ms_text(middle)),
            element("td", ms_text(high)),
            element("td", figures.bar(start, middle, high, whole), class_="bar"),
            class_=who.partition(",")[0],
        )
        for start, (name, middle, high, who) in zip(starts, found, strict=False)
    ]
    drawn = table(("stage", "median ms", "p95 ms", ""), lines, "Latency", class_="waterfall")
    text = (
        f"Over {len(delivered)} delivered frames. Solid: median, placed after the medians of the "
        "stages before it; thin: 95th percentile. Medians of stages do not add up to the median of "
        "the whole. Frames that were refined together are each booked with their batch's time."
    )
    if booked := values_of(delivered, "airtime_modelled_s"):
        text += (
            f" Airtime of the symbols by the channel's symbol rate: {ms_text(median(booked))} ms "
            "(median); it is waited for only under channel.airtime = sleep."
        )
    return section("Latency", drawn, note(text))


def ms_text(seconds: float) -> str:
    value = seconds * 1e3
    if not value:
        return "0"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.3f}"
