"""The newest frames of some run folders, read as they are added.

A ledger is asked for the rows behind the last one that was read: how long a run has gone on does
not matter. A folder without a ledger, of a machine that sends nothing or copied by hand, has the
rows of its results.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simulator.errors import DiffJsccError
from simulator.link.rows import ROW_KEYS, Row
from simulator.report.progress import count_of, last_line
from simulator.report.sources import (
    LEDGER,
    RUN_NUMBERS,
    Folder,
    frames_in_summary,
    read_folder,
    read_tree,
    typed,
)
from simulator.rowfile import parts_of
from simulator.runfolder import RUN_FILE, find_original, reading
from simulator.toml import to_toml
from simulator.watch.denoised import AWAY, WITHOUT_ROW, Denoised
from simulator.watch.source import STAGES, Frame, Known, State

KEPT = 200  # frames that the page can go back
BATCH = 500  # rows that are read at once


@dataclass
class Reader:
    """The rows of one folder, each given once."""

    path: Path
    rowid: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    known: tuple[int, int] | None = None  # of the results, where there is no ledger

    def rows(self) -> Iterator[Row]:
        """Those that are new. Raises ``sqlite3.Error``, ``ValueError``, ``DiffJsccError``."""
        ledger = self.path / LEDGER
        if not ledger.is_file():
            yield from self._of_results()
            return
        with reading(ledger) as connection:
            last = connection.execute("SELECT MAX(rowid) FROM results").fetchone()[0] or 0
            if last < self.rowid:  # another run has taken the folder
                self.rowid, self.counts = 0, Counter()
            if not self.rowid and last > KEPT:
                sql = "SELECT status, COUNT(*) FROM results WHERE rowid <= ? GROUP BY status"
                self.rowid = last - KEPT
                self.counts.update(dict(connection.execute(sql, (self.rowid,))))
            sql = "SELECT rowid, status, body FROM results WHERE rowid > ? ORDER BY rowid LIMIT ?"
            for rowid, status, body in connection.execute(sql, (self.rowid, BATCH)):
                row = json.loads(body)
                if not isinstance(row, dict):
                    raise ValueError("a row is no JSON object")
                self.rowid = rowid
                self.counts[status] += 1
                yield row | {"status": status}

    def _of_results(self) -> Iterator[Row]:
        try:
            states = [path.stat() for path in parts_of(self.path)]
        except OSError:
            return
        known = len(states), sum(state.st_size for state in states)
        if known == self.known or not states:
            return
        rows = read_folder(self.path).rows
        self.known, self.counts = known, Counter(str(row["status"]) for row in rows)
        yield from rows[max(0, len(rows) - KEPT) :]

    @property
    def ended(self) -> bool:
        """Whether the run has written its end, and has not gone on since."""
        return frames_in_summary(self.path) == sum(self.counts.values())

    def has(self, key: str) -> bool:
        """Whether a frame has its row in the ledger."""
        sql = "SELECT COUNT(*) FROM results WHERE frame_id = ?"
        try:
            with reading(self.path / LEDGER) as connection:
                return bool(connection.execute(sql, (bytes.fromhex(key),)).fetchone()[0])
        except sqlite3.Error:
            return False

    def waiting(self) -> int:
        """Frames that a stream has announced and that have no row."""
        try:
            with reading(self.path / LEDGER) as connection:
                return int(connection.execute("SELECT COUNT(*) FROM announced").fetchone()[0])
        except sqlite3.Error:
            return 0


def pictures_of(row: Row) -> list[str]:
    """Stages that there may be a picture of."""
    return ["sent", *(stage for stage in STAGES if row.get(f"{stage}_file"))]


class Frames(Known):
    """``look`` reads what is new; the rest says what is known. For several threads."""

    def __init__(self, folders: Sequence[Path]) -> None:
        super().__init__(State({}, None, 0, False, {}))
        self._readers = [Reader(path) for path in folders]
        self._folders = [Folder(path, {}, (), ()) for path in folders]
        self._denoised = Denoised(folders)
        self._frames: OrderedDict[str, Frame] = OrderedDict()
        self._seq = self._number = 0
        self._total: tuple[str, int | None] = ("", None)

    def look(self) -> None:
        """Once. A folder that cannot be read now, which may be on its way, is read later."""
        for reader in self._readers:
            try:
                for row in reader.rows():
                    self._add(typed(row, ROW_KEYS, RUN_NUMBERS))
            except (sqlite3.Error, ValueError, OSError, DiffJsccError):
                continue
        self._look_at_what_is_denoised()
        state = self._look_around()
        with self._lock:
            self._state = state

    def _add(self, row: Row) -> None:
        """A row, or what is known of a frame until there is one."""
        key = str(row["frame_id"] or "")
        with self._lock:
            known = self._frames.get(key)
            if known is not None and known.row["status"] not in WITHOUT_ROW:
                return
            self._seq += 1
            if known is None:
                self._number += 1
            number = known.number if known else self._number
            self._frames[key] = Frame(self._seq, number, key, row, pictures_of(row))
            if len(self._frames) > KEPT:
                self._frames.popitem(last=False)

    def _look_at_what_is_denoised(self) -> None:
        rows = self._denoised.look()
        with self._lock:
            known = {key: frame.row for key, frame in self._frames.items()}
        for key, row in known.items():
            if row["status"] in WITHOUT_ROW and key not in rows and row["status"] != AWAY:
                gone = dict.fromkeys(("reason", "preview_file", "refined_file"))
                rows[key] = {**row, **gone, "status": AWAY}
        for key, found in rows.items():
            if key not in known and any(reader.has(key) for reader in self._readers):
                continue  # an old one, of a receiver that is gone
            files = self._denoised.now[key].files if key in self._denoised.now else {}
            named = {f"{stage}_file": path.name for stage, path in files.items()}
            row = typed({**found, **named}, ROW_KEYS, RUN_NUMBERS)
            if row != known.get(key):
                self._add(row)

    def _look_around(self) -> State:
        counts: Counter[str] = Counter()
        for reader in self._readers:
            counts += reader.counts
        paths = [folder.path for folder in self._folders]
        logs = {log.stem: log for path in paths for log in sorted(path.glob("logs/*.log"))}
        begun = [each for each in self._readers if (each.path / LEDGER).is_file()]
        return State(
            dict(counts),
            self._total_of(paths),
            sum(reader.waiting() for reader in self._readers),
            bool(begun) and all(each.ended for each in begun),
            {name: last_line(log) for name, log in logs.items()},
        )

    def _total_of(self, paths: Sequence[Path]) -> int | None:
        """Computed again when a run is described anew only: it may hash the images."""
        try:
            found_trees = {path: read_tree(path / RUN_FILE) for path in paths}
        except (DiffJsccError, OSError):
            return self._total[1]
        # A receiver serves any run: its own folder says nothing of how many frames there are.
        runs = {path: tree for path, tree in found_trees.items() if tree.get("run") != ""}
        trees = {path: to_toml(tree) for path, tree in runs.items()}
        texts = "".join(trees.values())
        if texts != self._total[0]:
            found = [count_of(text, path) for path, text in trees.items() if text]
            total = sum(each for each in found if each) if all(found) else None
            self._total = texts, total or None
        return self._total[1]

    def _kept(self) -> Iterable[Frame]:
        return self._frames.values()

    def row(self, key: str) -> Row | None:
        """Of a frame that is kept."""
        with self._lock:
            frame = self._frames.get(key)
        return None if frame is None else frame.row

    def file(self, key: str, stage: str) -> Path | None:
        """The picture of a frame that is kept, if it is here: ``sent``, ``preview``, ``refined``.
        Never a file outside the folders."""
        row = self.row(key)
        if row is None:
            return None
        if stage != "sent" and row["status"] in WITHOUT_ROW:
            return self._denoised.file(key, stage)
        for folder in self._folders:
            if stage == "sent":
                image = row["image"]
                known = bool(image) and "\0" not in str(image)
                found = find_original(folder.path, row) if known else None
            else:
                found = folder.file(row.get(f"{stage}_file"))
            if found is not None:
                return found
        return None
