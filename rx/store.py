"""Where a receiver keeps what it made: files first, then the row, then it says RESULT."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rx.receiver import Stored
from simulator.link.ledger import Durability, RxLedger
from simulator.link.messages import Arrival
from simulator.newest import Newest, stem_of
from simulator.png import save_png

STAGES = ("preview", "refined")


def file_stem(frame: Arrival) -> str:
    """A name a person can read, from a label that a stranger may have chosen."""
    label = (
        re.sub(r"[^A-Za-z0-9._-]+", "_", PurePosixPath(frame.label).stem).strip("._")[:80]
        or "image"
    )
    point = frame.point
    snr = "trace" if point.snr_db is None else f"{point.snr_db:g}dB"
    ratio = point.bandwidth_ratio.replace("/", "-")
    return f"{label}_{point.channel}_{ratio}_{snr}_{frame.frame_id.hex()[:8]}"


class ResultStore:
    """Images under the receiver's own name, rows in its ledger. ``keep``: of how many of the
    newest frames that tx has confirmed images stay; 0: of all."""

    def __init__(
        self,
        folder: Path,
        name: str,
        settings: str,
        durability: Durability,
        save_images: bool,
        keep: int = 0,
    ) -> None:
        self._folder, self._name, self._settings = folder, name, settings
        self._save_images = save_images
        self.ledger = RxLedger(folder / f"rx-{name}.db", durability)
        # Most frames are new, and to ask SQLite of each costs as much as to store it.
        self._known = self.ledger.frame_ids(settings)
        self._images = folder / "images"
        if save_images:
            self._images.mkdir(parents=True, exist_ok=True)
        # Pictures of frames that tx has not confirmed may have to be sent to it: they stay.
        self._unconfirmed: dict[bytes, list[Path]] = {}
        self._keep = keep
        if keep:
            for frame_id, _, values in self.ledger.unconfirmed(settings):
                files = (values.get(f"{stage}_file") for stage in STAGES)
                self._unconfirmed[frame_id] = [folder / file for file in files if file]
        waiting = {path for paths in self._unconfirmed.values() for path in paths}
        before = set(self._images.glob(f"*.{name}.*.png")) - waiting
        self._newest = Newest(keep, ((stem_of(path), path) for path in before))

    def save(self, frame: Arrival, stage: str, pixels: np.ndarray) -> str | None:
        """Write one image; returns its path within the run folder."""
        if not self._save_images:
            return None
        path = self._images / f"{file_stem(frame)}.{self._name}.{stage}.png"
        save_png(pixels, path)
        if self._keep:
            self._unconfirmed.setdefault(frame.frame_id, []).append(path)
        return str(path.relative_to(self._folder))

    def pictures(self, values: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """The preview and the refined image of a row, as files; empty where they were not kept or
        are gone."""
        return self._read(values.get("preview_file")), self._read(values.get("refined_file"))

    def _read(self, name: str | None) -> bytes:
        if not name:
            return b""
        with suppress(OSError):
            return (self._folder / name).read_bytes()
        return b""

    def store(self, results: Sequence[Stored], confirmed: Sequence[bytes] = ()) -> None:
        """Rows of new results, and which earlier ones tx has confirmed: all or none."""
        rows = [(each.frame_id, self._settings, each.tx, each.values) for each in results]
        self.ledger.store(rows, confirmed)
        self._known.update(each.frame_id for each in results)
        for frame_id in confirmed:
            for path in self._unconfirmed.pop(frame_id, ()):
                self._newest.add(stem_of(path), path)

    def find(self, frame_id: bytes) -> tuple[str, dict[str, Any]] | None:
        return self.ledger.find(frame_id, self._settings) if frame_id in self._known else None
