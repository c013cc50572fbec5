"""Recordings in the SigMF format (version 1.0): NAME.sigmf-data and NAME.sigmf-meta.

Data are complex64 samples, little-endian (``cf32_le``); the metadata are JSON, of which only
fields of the core namespace are written and read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from simulator.errors import SettingsError, StorageError, path_from
from simulator.textfile import read_text
from simulator.wholefile import write_whole

VERSION = "1.0.0"
DATATYPE = "cf32_le"
RECORDER = "diffjscc"
PIECE = 1 << 20  # samples that are looked at together


def files_of(name: str) -> tuple[Path, Path]:
    """The data and the metadata of a recording, which may be named by either file or without an
    ending. Raises ``SettingsError``."""
    stem = name.removesuffix(".sigmf-data").removesuffix(".sigmf-meta")
    return path_from(f"{stem}.sigmf-data"), path_from(f"{stem}.sigmf-meta")


def read_meta(path: Path, rate_hz: float) -> dict[str, Any]:
    """The metadata of a recording of one channel of ``cf32_le`` at that sample rate. Raises
    ``SettingsError``."""
    try:
        tree = json.loads(read_text(path))
        whole = tree["global"]
        datatype, rate = whole["core:datatype"], whole.get("core:sample_rate", rate_hz)
        channels = whole.get("core:num_channels", 1)
        rate = float(rate)
        annotations = [dict(each) for each in tree.get("annotations", [])]
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise SettingsError(f"{path} is no metadata of SigMF: it needs core:datatype.") from None
    if datatype != DATATYPE:
        raise SettingsError(f"{path} has samples of type {datatype}; record them as {DATATYPE}.")
    if channels != 1:
        raise SettingsError(f"{path} has {channels} channels; record one.")
    if not abs(rate - rate_hz) <= 1e-6 * rate_hz:
        raise SettingsError(
            f"{path} has {rate:g} samples per second, and channel.radio.sps times "
            f"channel.symbol_rate_hz is {rate_hz:g}; record at that rate."
        )
    return {"global": whole, "annotations": annotations}


def read_recording(name: str, rate_hz: float) -> np.ndarray:
    """(n,) complex64, mapped: read where they are looked at. Raises ``SettingsError``."""
    data, meta = files_of(name)
    read_meta(meta, rate_hz)
    try:
        size = data.stat().st_size
        if not size or size % 8:
            raise SettingsError(f"{data} has {size} bytes, which are no whole complex64 samples.")
        samples = np.memmap(data, "<c8", "r")
    except OSError as error:
        raise SettingsError(f"{data} cannot be read: {error.strerror}.") from None
    for first in range(0, len(samples), PIECE):
        if not np.isfinite(samples[first : first + PIECE].view("<f4")).all():
            raise SettingsError(f"{data} has samples that are not finite.")
    return samples


@dataclass
class Writer:
    """A recording that grows by a burst at a time; one that is there already goes on. Raises
    ``SettingsError`` where it is of another kind, ``StorageError`` where it cannot be written."""

    name: str
    rate_hz: float
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._data, self._meta = files_of(self.name)
        if self._meta.exists():
            tree = read_meta(self._meta, self.rate_hz)
            if tree["global"].get("core:recorder") != RECORDER:
                raise SettingsError(f"{self._meta} was not made by a run; name another recording.")
            self.annotations = tree["annotations"]
        elif self._data.exists():
            raise SettingsError(f"{self._data} has no metadata; name another recording.")
        self._labels = {each.get("core:label") for each in self.annotations}

    def add(self, samples: np.ndarray, begin: int, end: int, label: str, comment: str) -> None:
        """A burst of complex64 samples, of which those from ``begin`` to ``end`` are annotated; one
        of a label that is there already is not written again."""
        if label in self._labels:
            return
        try:
            self._data.parent.mkdir(parents=True, exist_ok=True)
            with self._data.open("ab") as file:
                first = file.tell() // 8
                file.truncate(8 * first)  # a process may have been killed within a sample
                file.write(samples.astype("<c8").tobytes())
        except OSError as error:
            raise StorageError(f"{self._data} cannot be written: {error.strerror}.") from None
        self.annotations.append(
            {
                "core:sample_start": first + begin,
                "core:sample_count": end - begin,
                "core:label": label,
                "core:comment": comment,
            }
        )
        self._labels.add(label)
        self._describe()

    def _describe(self) -> None:
        tree = {
            "global": {
                "core:datatype": DATATYPE,
                "core:sample_rate": self.rate_hz,
                "core:version": VERSION,
                "core:num_channels": 1,
                "core:recorder": RECORDER,
                "core:description": "Bursts of images, one for each frame.",
            },
            "captures": [{"core:sample_start": 0}],
            "annotations": self.annotations,
        }
        write_whole(self._meta, json.dumps(tree, indent=1, allow_nan=False) + "\n")
