"""The two ledgers: SQLite files that are the truth about a run.

WAL with ``synchronous = NORMAL`` survives the death of any process; ``durability = "full"``
survives power loss, too, at the price of a disk flush a frame.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from simulator.link.text import row_to_json

SCHEMA = 1
KEPT_ROWS = 4096  # of frames that rx might offer again
DAMAGED = "file is damaged"  # where the words of SQLite quote bytes that are no text
Durability = Literal["process", "full"]


class LedgerError(Exception):
    """A ledger cannot be opened or written; the text is one sentence."""


class Ledger:
    """A SQLite file with key-value ``meta``. Subclasses add their tables as ``DDL``."""

    DDL = ""

    def __init__(self, path: Path, durability: Durability = "process") -> None:
        self.path = path
        with self._as("opened"):
            path.parent.mkdir(parents=True, exist_ok=True)
            # One thread uses a ledger at a time; which one may change at start and end.
            self._db = sqlite3.connect(path, timeout=10, check_same_thread=False)
        try:
            self._create(durability)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _as(self, done: str) -> Iterator[None]:
        """What fails inside is a ``LedgerError``: the ledger cannot be ``done``."""
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            reason = DAMAGED if isinstance(error, UnicodeDecodeError) else error
            raise LedgerError(f"ledger {self.path} cannot be {done}: {reason}.") from None

    def _create(self, durability: Durability) -> None:
        with self._as("opened"):
            self._db.execute("PRAGMA journal_mode = WAL")
            level = "FULL" if durability == "full" else "NORMAL"
            self._db.execute(f"PRAGMA synchronous = {level}")
            with self._db:
                self._db.execute(
                    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)"
                )
                for statement in filter(None, map(str.strip, self.DDL.split(";"))):
                    self._db.execute(statement)
        self.require("schema", str(SCHEMA))

    def require(self, key: str, value: str) -> None:
        """Set ``key`` the first time; raise ``LedgerError`` if it holds another value."""
        if self.get(key) is None:
            self.run("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, value))
        found = self.get(key)  # another process may have been first
        if found != value:
            raise LedgerError(
                f"ledger {self.path} was made with {key} {found!r}, not {value!r}; "
                f"use another output folder, or the settings of that run."
            )

    def get(self, key: str) -> str | None:
        rows = list(self.rows("SELECT value FROM meta WHERE key = ?", (key,)))
        return rows[0][0] if rows else None

    def run(self, sql: str, values: tuple[Any, ...] = ()) -> int:
        """One statement in a transaction of its own; returns the number of rows changed."""
        with self._as("written"), self._db:
            return self._db.execute(sql, values).rowcount

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        with self._as("read"):
            yield from self._db.execute(sql, values)

    def parsed(self, body: str | bytes) -> dict[str, Any]:
        """A row from its column. SQLite notices damage to its pages, not to what stands there."""
        try:
            row = json.loads(body)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise LedgerError(
                f"ledger {self.path} holds a row that is damaged; diffjscc doctor --run says more."
            )
        return row

    def close(self) -> None:
        self._db.close()


class TxLedger(Ledger):
    """One row a frame of this transmitter: delivered, dead or refused."""

    DDL = """
    CREATE TABLE IF NOT EXISTS results (
        frame_id BLOB PRIMARY KEY, status TEXT NOT NULL, body TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS failures (
        frame_id BLOB PRIMARY KEY, count INTEGER NOT NULL, reason TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS deaths (frame_id BLOB PRIMARY KEY, count INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS announced (
        number INTEGER PRIMARY KEY AUTOINCREMENT, frame_id BLOB NOT NULL UNIQUE,
        body TEXT NOT NULL, content BLOB);
    """

    def announce(self, number: int, frame_id: bytes, body: str, content: Any) -> None:
        """A frame that came while tx runs: kept until it has its row. ``content``: its pixels, or
        None where ``body`` names a file."""
        values = (number, frame_id, body, content)
        self.run("INSERT INTO announced VALUES (?, ?, ?, ?)", values)

    def announced(self) -> Iterator[tuple[int, bytes, str, bytes | None]]:
        """(number, frame id, body, content) of frames without a row, in their order."""
        for row in self.rows("SELECT * FROM announced ORDER BY number"):
            yield row[0], row[1], row[2], row[3]

    def next_number(self) -> int:
        """Of the next frame to be announced."""
        sql = "SELECT seq FROM sqlite_sequence WHERE name = 'announced'"
        return max((row[0] + 1 for row in self.rows(sql)), default=0)

    def store(self, rows: list[tuple[bytes, str, dict[str, Any]]]) -> None:
        """INSERT OR IGNORE (frame id, status, row): the first result of a frame stands."""
        with self._as("written"), self._db:
            self._db.executemany(
                "INSERT OR IGNORE INTO results VALUES (?, ?, ?)",
                [(fid, status, row_to_json(body)) for fid, status, body in rows],
            )
            self._db.executemany(
                "DELETE FROM announced WHERE frame_id = ?", [(fid,) for fid, _, _ in rows]
            )

    def finished(self) -> set[bytes]:
        return {row[0] for row in self.rows("SELECT frame_id FROM results")}

    def has(self, frame_id: bytes) -> bool:
        sql = "SELECT 1 FROM results WHERE frame_id = ?"
        return any(True for _ in self.rows(sql, (frame_id,)))

    def results(self, behind: int = 0) -> Iterator[dict[str, Any]]:
        """Every row after the first ``behind`` rows, in the order of arrival."""
        sql = "SELECT body FROM results ORDER BY rowid LIMIT -1 OFFSET ?"
        for (body,) in self.rows(sql, (behind,)):
            yield self.parsed(body)

    def images(self) -> Iterator[str]:
        """``image`` of every row, and of every frame that has none yet."""
        for column in ("results", "announced"):
            key = "$.image" if column == "results" else "$.path"
            for (image,) in self.rows(f"SELECT json_extract(body, ?) FROM {column}", (key,)):
                yield str(image)

    def counts(self) -> dict[str, int]:
        return dict(self.rows("SELECT status, COUNT(*) FROM results GROUP BY status"))

    def fail(self, frame_id: bytes, reason: str) -> int:
        """Count a failure that a receiver reported; returns how many there are."""
        self.run(
            "INSERT INTO failures VALUES (?, 1, ?) ON CONFLICT (frame_id) "
            "DO UPDATE SET count = count + 1, reason = excluded.reason",
            (frame_id, reason),
        )
        ((count,),) = self.rows("SELECT count FROM failures WHERE frame_id = ?", (frame_id,))
        return int(count)

    def died_at(self, frame_id: bytes) -> int:
        """Count a death of this process while it worked on a frame; returns how many there are."""
        self.run(
            "INSERT INTO deaths VALUES (?, 1) ON CONFLICT (frame_id) "
            "DO UPDATE SET count = count + 1",
            (frame_id,),
        )
        ((count,),) = self.rows("SELECT count FROM deaths WHERE frame_id = ?", (frame_id,))
        return int(count)

    def retry_dead(self) -> int:
        """Forget dead frames and their failures; returns how many are tried again."""
        dead = "SELECT frame_id FROM results WHERE status = 'dead'"
        self.run(f"DELETE FROM failures WHERE frame_id IN ({dead})")
        return self.run("DELETE FROM results WHERE status = 'dead'")


class NewestRows(TxLedger):
    """In memory, and of the newest rows alone: for who wants each row at once and no run folder."""

    def __init__(self) -> None:
        super().__init__(Path(":memory:"))

    def announce(self, number: int, frame_id: bytes, body: str, content: Any) -> None:
        """Nothing of it would survive."""

    def store(self, rows: list[tuple[bytes, str, dict[str, Any]]]) -> None:
        super().store(rows)
        oldest = "SELECT MAX(rowid) FROM results"
        self.run(f"DELETE FROM results WHERE rowid <= ({oldest}) - {KEPT_ROWS}")


class RxLedger(Ledger):
    """One row a frame and settings hash of this receiver, and whether tx confirmed it."""

    DDL = """
    CREATE TABLE IF NOT EXISTS results (
        frame_id BLOB NOT NULL, settings TEXT NOT NULL, tx TEXT NOT NULL, body TEXT NOT NULL,
        confirmed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (frame_id, settings));
    """

    def store(
        self,
        rows: Sequence[tuple[bytes, str, str, dict[str, Any]]],
        confirmed: Sequence[bytes] = (),
    ) -> None:
        """In one transaction: INSERT OR IGNORE (frame id, settings, tx, row), and which frames tx
        has confirmed."""
        with self._as("written"), self._db:
            self._db.executemany(
                "INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?, 0)",
                [(fid, settings, tx, row_to_json(body)) for fid, settings, tx, body in rows],
            )
            self._db.executemany(
                "UPDATE results SET confirmed = 1 WHERE frame_id = ?",
                [(fid,) for fid in confirmed],
            )

    def find(self, frame_id: bytes, settings: str) -> tuple[str, dict[str, Any]] | None:
        """(tx, row) of a frame that is stored already."""
        sql = "SELECT tx, body FROM results WHERE frame_id = ? AND settings = ?"
        for tx, body in self.rows(sql, (frame_id, settings)):
            return tx, self.parsed(body)
        return None

    def frame_ids(self, settings: str) -> set[bytes]:
        return {
            row[0]
            for row in self.rows("SELECT frame_id FROM results WHERE settings = ?", (settings,))
        }

    def unconfirmed(self, settings: str) -> list[tuple[bytes, str, dict[str, Any]]]:
        sql = "SELECT frame_id, tx, body FROM results WHERE confirmed = 0 AND settings = ?"
        return [(fid, tx, self.parsed(body)) for fid, tx, body in self.rows(sql, (settings,))]
