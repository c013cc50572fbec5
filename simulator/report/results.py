"""The files of a run folder that people and scripts read: rows, summary, trace."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from simulator.link.rows import (
    POINT,
    QUALITY,
    ROW_KEYS,
    TIMES,
    Row,
    by_point,
    mean_over_images,
    public,
    values_of,
)
from simulator.link.text import to_json
from simulator.report.counts import dropped_of, images_of, refused_of, repeats_of
from simulator.report.trace import chrome_trace
from simulator.rowfile import SUMMARY, write_rows


def write_results(folder: Path, rows: Sequence[Row], roll_bytes: int = 0) -> None:
    """``results.jsonl``, ``results.csv``, ``summary.json`` and ``trace.json``."""
    write_rows(folder, rows, roll_bytes)
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as sheet:
        writer = csv.DictWriter(sheet, ROW_KEYS)
        writer.writeheader()
        writer.writerows(map(public, rows))
    (folder / SUMMARY).write_text(to_json(summarise(rows), indent=2) + "\n", encoding="utf-8")
    with (folder / "trace.json").open("w", encoding="utf-8") as trace:
        trace.writelines(chrome_trace(rows))


def p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Counts (``counts`` says of what), then for each operating point the mean of each quality, and
    of the bandwidth ratio that was used, over images (repeats are averaged first), with the number
    n of frames it is over, and median and p95 of each time in seconds."""
    statuses: dict[str, int] = defaultdict(int)
    for row in rows:
        statuses[str(row["status"])] += 1
    points = []
    for point, group in by_point(rows).items():
        entry: dict[str, Any] = dict(zip(POINT, point, strict=True))
        entry |= {
            "images": images_of(group),
            "repeats": repeats_of(group),
            "frames": len(group),
            "refused": refused_of(group),
            "dropped": dropped_of(group),
        }
        for key in (*QUALITY, "bandwidth_ratio", "received_snr_db", "h_abs2"):
            if values := values_of(group, key):
                entry[key] = {"mean": mean_over_images(group, key), "n": len(values)}
        for key in TIMES:
            if values := values_of(group, key):
                entry[key] = {"median": median(values), "p95": p95(values), "n": len(values)}
        points.append(entry)
    return {
        "images": images_of(rows),
        "frames": len(rows),
        "refused": refused_of(rows),
        "dropped": dropped_of(rows),
        "status": dict(statuses),
        "points": points,
    }
