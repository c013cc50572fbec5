"""What a report is made of: run folders and sweep folders, of one machine or of several.

    results*.jsonl, or tx.db of a run that goes on -> rows of a run, one a frame
    rows.jsonl                                    -> rows of a sweep, one a method and frame
    run.toml, sweep.toml                          -> settings and provenance
    images/                                       -> pictures, looked for in every folder

With three machines originals are in tx's folder and results in the receivers': rows name files
relative to the folder of the machine that made them. Nothing read here is trusted: rows get the
types that the report expects, and no name leads out of the folders.
"""

from __future__ import annotations

import json
import math
import sqlite3
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from simulator.errors import SettingsError, StorageError
from simulator.link.rows import QUALITY, ROW_KEYS, TIMES, Row
from simulator.link.rowtable import RowTable
from simulator.link.text import name_in_sweep
from simulator.metrics.known import KNOWN
from simulator.metrics.metric import Declared, Metric, SetMetric
from simulator.rowfile import RESULTS, SUMMARY, parts_of
from simulator.runfolder import RUN_FILE, count_results, find_original, ledger_rows
from simulator.textfile import read_text

LEDGER, SWEEP, SWEEP_FILE = "tx.db", "rows.jsonl", "sweep.toml"

RUN_NUMBERS = {
    *("attempts", "repeat", "height", "width", "k", "pilots", "bandwidth_ratio", "overhead_bytes"),
    *("side_uses", "snr_db", "h_abs2", "received_snr_db", "papr_db", "packets_lost"),
    *("feedback_bits", "share", "sinr_db"),
    *("seed", "steps", "guidance_scale"),
    *QUALITY,
    *TIMES,
}
# ``file``: the picture that arrived, relative to the sweep's folder.
SWEEP_KEYS = (
    *("method", "label", "channel", "cbr", "snr_db", "image", "repeat"),
    *("outage", "seconds", "file"),
)
SWEEP_NUMBERS = {"snr_db", "repeat", "outage", "seconds"}


@dataclass(frozen=True)
class Folder:
    """One folder as it was read. ``tree``: what its TOML file says, empty where there is none."""

    path: Path
    tree: dict[str, Any]
    rows: Sequence[Row]
    sweep: Sequence[Row]
    finished: bool = True  # False: rows are from the ledger of a run that was not finished
    receiver: bool = False  # of a machine with a receiver alone: only its images count
    metrics: tuple[Declared, ...] = ()  # of its sweep

    def file(self, name: str | None) -> Path | None:
        """A file that a row names, if it is here. Never one outside the folder."""
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            return None
        return file_at(self.path / name)


def file_at(path: Path) -> Path | None:
    """``path``, if there is a file."""
    try:
        return path if path.is_file() else None
    except (OSError, ValueError):  # too long, or with a null byte
        return None


@dataclass(frozen=True)
class Sources:
    """All folders of one report. ``rows``: each frame once, in the order of the folders."""

    folders: tuple[Folder, ...]
    rows: Sequence[Row]
    sweep: Sequence[Row]

    @cached_property
    def metrics(self) -> list[Declared]:
        """Every metric that there may be: this project's, then those of plugins."""
        own = {metric.key: metric for folder in self.folders for metric in folder.metrics}
        return [*KNOWN, *own.values()]

    def file(self, name: str | None) -> Path | None:
        return next(filter(None, (folder.file(name) for folder in self.folders)), None)

    def original(self, row: Row) -> Path | None:
        """The picture as it was sent: kept by tx, whichever folder that is."""
        if not row["image"] or "\0" in row["image"]:
            return None
        found = (find_original(folder.path, row) for folder in self.folders)
        return next(filter(None, found), None)

    def sent_in_sweep(self, image: str) -> Path | None:
        """The picture that a sweep was given, where it still lies or where it was kept."""
        places = (name_in_sweep(image), f"{Path(image).stem}.png", image)
        names = [f"images/original/{place}" for place in places]
        kept = next(filter(None, map(self.file, names)), None)
        return kept or file_at(Path(image))

    def folder_of(self, row: Row) -> Folder | None:
        """The folder whose run the row belongs to."""
        return next((f for f in self.folders if f.rows and f.tree.get("run") == row["run"]), None)


def read_sources(paths: Sequence[Path]) -> Sources:
    """Read and merge. Raises SettingsError for a folder that is not of a run or a sweep, or a
    damaged one, and StorageError for one that cannot be read."""
    folders = tuple(map(read_folder, dict.fromkeys(paths)))
    if all(folder.receiver for folder in folders):
        raise SettingsError(
            f"{paths[0]} has results of a receiver, and which images they are is known to the "
            "transmitter alone: name its run folder, too."
        )
    return merged(folders)


def merged(folders: Sequence[Folder]) -> Sources:
    rows: dict[str, Row] = {}
    for folder in folders:
        for row in folder.rows:
            rows.setdefault(f"{row['frame_id']}", row)
    return Sources(tuple(folders), list(rows.values()), [r for f in folders for r in f.sweep])


def read_folder(path: Path, rows: Sequence[Row] | None = None) -> Folder:
    """``rows``: those of its finished run, where they are known already."""
    finished = True
    try:
        if not path.is_dir():
            raise SettingsError(f"{path} is not a folder; name the folder of a run or a sweep.")
        sends = bool(parts_of(path)) or any((path / name).is_file() for name in (LEDGER, SWEEP))
        receives = any(path.glob("rx-*.db"))
        if not (sends or receives or (path / RUN_FILE).is_file()):
            raise SettingsError(
                f"{path} is no folder of a run or a sweep: it has neither {RESULTS} nor {SWEEP}, "
                f"{RUN_FILE} or a ledger."
            )
        if rows is None:
            rows, finished = rows_of_run(path)
        sweep = read_lines(path / SWEEP)
        tree = read_tree(path / RUN_FILE) | read_tree(path / SWEEP_FILE)
        metrics = declared_in(tree.pop("metrics", {}))
    except OSError as error:
        where = error.filename or path
        raise StorageError(f"{where} cannot be read: {error.strerror or error}.") from None
    keys = [metric.key for metric in (*KNOWN, *metrics)]
    numbers = SWEEP_NUMBERS.union(keys)
    swept = (labelled(typed(row, (*SWEEP_KEYS, *keys), numbers)) for row in sweep)
    return Folder(
        path,
        tree,
        rows,
        RowTable(in_order_of_methods(swept, tree)),
        finished,
        receives and not sends,
        metrics,
    )


def declared_in(table: Any) -> tuple[Declared, ...]:
    """The metrics of a sweep that are not this project's, as its ``sweep.toml`` says; what is no
    declaration is left out."""
    known = {metric.key for metric in KNOWN} | set(SWEEP_KEYS)
    found = []
    for key, entry in table.items() if isinstance(table, dict) else ():
        if key in known or not isinstance(entry, dict):
            continue
        label, unit, digits = (entry.get(name) for name in ("label", "unit", "digits"))
        if isinstance(label, str) and isinstance(unit, str) and isinstance(digits, int):
            kind = SetMetric if entry.get("of_set") is True else Metric
            found.append(kind(key, label, unit, min(max(digits, 0), 9)))
    return tuple(found)


def rows_of_run(path: Path) -> tuple[RowTable, bool]:
    """Rows, and whether they are those of a finished run.

    The ledger is asked where results are not whole: while a run goes on, or was cut short.
    """
    ledger, parts = path / LEDGER, parts_of(path)
    if ledger.is_file():
        lines = sum(map(count_lines, parts))
        try:
            if not parts or lines != frames_in_summary(path) or count_results(ledger) > lines:
                return table_of(ledger_rows(ledger)), False
        except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
            if not lines:
                raise SettingsError(f"{ledger} cannot be read ({error}).") from None
    return table_of(row for part in parts for row in read_lines(part)), True


def frames_in_summary(path: Path) -> int | None:
    """The number of frames in the summary that a run writes at its end; None where there is none,
    or a damaged one."""
    try:
        frames = json.loads(read_text(path / SUMMARY))["frames"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return frames if isinstance(frames, int) else None


def table_of(rows: Iterable[Row]) -> RowTable:
    return RowTable(typed(row, ROW_KEYS, RUN_NUMBERS) for row in rows)


def count_lines(path: Path) -> int:
    """Lines that are not empty; 0 where there is no such file."""
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(bool(line.strip()) for line in file)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """One JSON object a line; none where there is no such file."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace")
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise SettingsError(f"line {number} of {path} is damaged; it is no JSON object.")
            yield row


def read_tree(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.") from None


def typed(row: Row, keys: Iterable[str], numbers: set[str]) -> dict[str, Any]:
    """A row with these keys alone: finite numbers, texts, or None."""
    return {key: (number_of if key in numbers else text_of)(row.get(key)) for key in keys}


def in_order_of_methods(rows: Iterable[Row], tree: dict[str, Any]) -> list[Row]:
    """As the configuration has the methods; ``rows.jsonl`` has them as they were done."""
    settings = tree.get("settings")
    methods = settings.get("methods") if isinstance(settings, dict) else None
    rank = {str(name): index for index, name in enumerate(methods)} if methods else {}
    return sorted(rows, key=lambda row: rank.get(row["method"], len(rank)))


def labelled(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a sweep whose method has a name for people, if only its own."""
    return row | {"label": row["label"] or row["method"]}


def number_of(value: Any) -> float | int | None:
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an integer beyond every float
        return None


def text_of(value: Any) -> str | None:
    return None if value is None else str(value)
