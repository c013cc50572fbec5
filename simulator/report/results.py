"""The files of a run folder that people and scripts read: rows, summary, trace."""

from __future__ import annotations

import csv
import json
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
    values_of,
)
from simulator.report.trace import chrome_trace


def public(row: Row) -> Row:
    """A row without what only the trace needs."""
    return {key: row.get(key) for key in ROW_KEYS}


def write_results(folder: Path, rows: Sequence[Row]) -> None:
    """``results.jsonl``, ``results.csv``, ``summary.json`` and ``trace.json``."""
    with (folder / "results.jsonl").open("w") as file:
        for row in rows:
            file.write(json.dumps(public(row)) + "\n")
    # Reasons may hold file names, and not every name is UTF-8.
    path, errors = folder / "results.csv", "backslashreplace"
    with path.open("w", newline="", encoding="utf-8", errors=errors) as file:
        writer = csv.DictWriter(file, ROW_KEYS)
        writer.writeheader()
        writer.writerows(public(row) for row in rows)
    (folder / "summary.json").write_text(json.dumps(summarise(rows), indent=2) + "\n")
    (folder / "trace.json").write_text(json.dumps(chrome_trace(rows)) + "\n")


def p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Counts, then for each operating point the mean of each quality over images (repeats are
    averaged first), with the number of rows it is over, and median and p95 of each time in
    seconds."""
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[str(row["status"])] += 1
    points = []
    for point, group in by_point(rows).items():
        entry: dict[str, Any] = dict(zip(POINT, point, strict=True))
        entry["images"] = len(group)
        for key in (*QUALITY, "received_snr_db", "h_abs2"):
            if values := values_of(group, key):
                entry[key] = {"mean": mean_over_images(group, key), "n": len(values)}
        for key in TIMES:
            if values := values_of(group, key):
                entry[key] = {"median": median(values), "p95": p95(values), "n": len(values)}
        points.append(entry)
    return {"frames": len(rows), "status": dict(counts), "points": points}
