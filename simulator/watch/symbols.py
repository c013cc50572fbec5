"""The symbols of a frame that is shown: computed again from the run's settings, when asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simulator.errors import DiffJsccError
from simulator.link.rows import Row
from simulator.report.constellation import Constellation, constellation_of
from simulator.report.frames import air_of, words_of
from simulator.report.sources import Folder, Sources, read_tree
from simulator.runfolder import RUN_FILE

POINTS = 700  # of a cloud, evenly: more make it slow to draw and no clearer
KEPT = 32


class Symbols:
    """For several threads; one frame is being computed at a time."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._paths = list(folders)
        self._lock = threading.Lock()
        self._known: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def of(self, row: Row, frames: int) -> dict[str, Any]:
        """Clouds of points, levels over frequency and time, and words; or ``why`` there are none.

        ``frames``: how many the run has had, along an SNR trace.
        """
        with self._lock:
            key = str(row["frame_id"])
            if key not in self._known:
                self._known[key] = self._computed(row, frames)
                if len(self._known) > KEPT:
                    self._known.popitem(last=False)
            return self._known[key]

    def _computed(self, row: Row, frames: int) -> dict[str, Any]:
        if row["status"] != "delivered":
            return {"why": "this frame has not arrived"}
        try:
            trees = [(path, read_tree(path / RUN_FILE)) for path in self._paths]
        except (DiffJsccError, OSError) as error:
            return {"why": str(error).rstrip(".")}
        rows = (row,) * max(1, frames)
        folders = tuple(Folder(path, tree, rows, ()) for path, tree in trees)
        found = constellation_of(row, Sources(folders, rows, ()))
        if isinstance(found, str):
            return {"why": found}
        return said(found, row)


def said(found: Constellation, row: Row) -> dict[str, Any]:
    clouds = {"sent": found.sent, "received": found.received, "equalised": found.equalised}
    return {
        "clouds": {name: points_of(values) for name, values in clouds.items()},
        "levels": [
            {"title": each.title, "db": rounded(each.db), "ticks": each.ticks, "unit": each.unit}
            for each in air_of(found)
        ],
        "told": words_of(found, Path(str(row["image"] or "")).name, row),
    }


def points_of(values: np.ndarray) -> list[list[float]]:
    """At most ``POINTS`` of (K,) complex, as pairs."""
    chosen = values[:: max(1, -(-len(values) // POINTS))]
    return [
        [round(float(x), 3), round(float(y), 3)]
        for x, y in zip(chosen.real, chosen.imag, strict=True)
    ]


def rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in values]
