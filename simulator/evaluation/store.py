"""A sweep's folder: rows that no crash can tear, features beside them, one sweep at a time.

sweep.toml      settings, versions, hashes: what the rows were made with
rows.jsonl      one row a result, appended whole and synced, keyed by KEY
features/       arrays of set metrics, one file a row and metric, written before its row
images/         original/NAME-HASH.png, METHOD/NAME_POINT.png, of the first few images
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from simulator.air import FIRST_DRAWS, NEWEST_DRAWS
from simulator.claim import locked
from simulator.errors import SettingsError, StorageError
from simulator.evaluation import arrays
from simulator.images import Pixels
from simulator.link.rows import Row
from simulator.link.text import readable, strict, to_json
from simulator.methods.method import Point
from simulator.metrics.interval import Estimate
from simulator.metrics.metric import Array
from simulator.png import save_png
from simulator.runfolder import RUN_FILE
from simulator.toml import read_toml, to_toml
from simulator.wholefile import write_whole

SWEEP_FILE, ROWS = "sweep.toml", "rows.jsonl"
FEATURES, PICTURES = "features", "images"
KEY = ("method", "channel", "cbr", "snr_db", "image", "repeat")
Key = tuple[Any, ...]


def key_of(row: Row) -> Key:
    return tuple(row[name] for name in KEY)


def slug(text: str) -> str:
    """Part of a file name; different texts stay different."""
    text = readable(text)
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "_", text).strip("._")[:60]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def point_text(point: Point) -> str:
    snr = "trace" if point.snr_db is None else f"{point.snr_db:g}dB"
    return f"{point.channel}_{str(point.cbr).replace('/', '-')}_{snr}"


class Store:
    """``rows``: those that are there already, by ``KEY``. Made by ``open_store``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[Key, Row] = {}
        self._read()
        self._file = os.open(folder / ROWS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def close(self) -> None:
        os.close(self._file)

    def _read(self) -> None:
        """Rows of before; a last line that was cut off by a crash is taken away."""
        path = self.folder / ROWS
        if not path.exists():
            return
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(path, whole)
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                row = json.loads(line)
                self.rows[key_of(row)] = row
            except (ValueError, KeyError, TypeError):
                raise StorageError(
                    f"line {number} of {path} is damaged; remove the line, and it is made again."
                ) from None

    def append(self, rows: Sequence[Row]) -> None:
        """All of them, or after a crash the first few; a row is never torn once it is read."""
        fresh = [row for row in rows if key_of(row) not in self.rows]
        if not fresh:
            return
        data = "".join(to_json(row) + "\n" for row in fresh).encode()
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)
        self.rows |= {key_of(row): row for row in fresh}

    # -- features ----------------------------------------------------------------------------

    def _features(self, name: str, metric: str) -> Path:
        return self.folder / FEATURES / metric / f"{name}.npy"

    def save_features(self, name: str, features: dict[str, Array]) -> None:
        """Whole or not at all."""
        for metric, array in features.items():
            arrays.write(self._features(name, metric), array)

    def has_features(self, name: str, metric: str) -> bool:
        return self._features(name, metric).is_file()

    def features(self, name: str, metric: str) -> Array:
        """Raises ``StorageError`` where they cannot be read."""
        path = self._features(name, metric)
        try:
            array: Array = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StorageError(
                f"{path} cannot be read ({error}); remove the lines of this method from {ROWS}, "
                f"and they are made again."
            ) from None
        return array

    # -- estimates of sets -------------------------------------------------------------------

    def _estimate(self, metric: str, names: Any) -> Path:
        """Named by the features that it is of: they are never written again."""
        digest = hashlib.sha256(to_json(names).encode()).hexdigest()[:24]
        return self.folder / FEATURES / metric / "estimates" / f"{digest}.json"

    def estimate(self, metric: str, names: Any) -> Estimate | None:
        try:
            return Estimate(**json.loads(self._estimate(metric, names).read_text("utf-8")))
        except (OSError, ValueError, TypeError):  # none, or damaged: it is made again
            return None

    def save_estimate(self, metric: str, names: Any, estimate: Estimate) -> None:
        path = self._estimate(metric, names)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, to_json(asdict(estimate)))

    # -- pictures ----------------------------------------------------------------------------

    def save_picture(self, method: str, name: str, pixels: Pixels) -> str:
        """Its path within the folder."""
        path = self.folder / PICTURES / slug(method) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            save_png(pixels, path)
        return str(path.relative_to(self.folder))


@contextmanager
def open_store(folder: Path, tree: dict[str, Any], decides: dict[str, Any]) -> Iterator[Store]:
    """The folder, made or continued. ``tree``: what ``sweep.toml`` of a new one holds;
    ``decides``: what must be as it was.

    Raises ``SettingsError`` where the folder was begun with something else, ``StorageError``
    where it cannot be used or another sweep is using it.
    """
    try:
        check_same(folder, decides)  # a refused sweep writes nothing
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, doing="sweep"):
            if not check_same(folder, decides):
                begin(folder, strict(tree | {"decides": decides}))
            with contextlib.closing(Store(folder)) as store:
                yield store
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{error.filename or folder} cannot be used: {reason}.") from None


def draws_of(folder: Path) -> int:
    """The version of the draws that a folder goes on with; a new one has the newest."""
    path = folder / SWEEP_FILE
    if not path.is_file():
        return NEWEST_DRAWS
    version: int = read_toml(path).get("decides", {}).get("channel.draws", FIRST_DRAWS)
    return version


def check_same(folder: Path, decides: dict[str, Any]) -> bool:
    """Whether the folder holds this sweep already. Raises ``SettingsError`` for another."""
    path = folder / SWEEP_FILE
    if path.is_file():
        before = read_toml(path).get("decides", {})
        now = json.loads(to_json(decides))
        other = [name for name in {**now, **before} if now.get(name) != before.get(name)]
        if other:
            name = other[0]
            raise SettingsError(
                f"{folder} was begun with other settings ({name} was {before.get(name)!r} and is "
                f"{now.get(name)!r}); name another folder with --out, or give the same command."
            )
        return True
    if (folder / ROWS).exists() or (folder / RUN_FILE).exists():
        raise SettingsError(f"{folder} holds something else; name another folder with --out.")
    return False


def begin(folder: Path, tree: dict[str, Any]) -> None:
    """Write ``sweep.toml``, whole or not at all."""
    write_whole(folder / SWEEP_FILE, to_toml(tree))
