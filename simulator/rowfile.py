"""``results.jsonl`` of a run folder: one line a row, written while the run goes on.

row -> results.jsonl -(as large as tx.roll_bytes)-> results-000001.jsonl, results-000002.jsonl, ...

The ledger is the truth. While a run goes on, rows stand in the order in which they became final,
which is the ledger's; at the end they are written again in the order of the run.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from simulator.errors import StorageError
from simulator.link.ledger import TxLedger
from simulator.link.rows import Row, public
from simulator.wholefile import what_to_do, whole

RESULTS = "results.jsonl"
SUMMARY = "summary.json"  # written at the end of a run, behind its rows
ROLLED = re.compile(r"results-\d{6,}\.jsonl")
BLOCK = 1 << 20
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


def number_of(part: Path) -> int:
    """0: the newest, which has none."""
    return 0 if part.name == RESULTS else int(part.stem.removeprefix("results-"))


def rolled(folder: Path, number: int) -> Path:
    return folder / f"results-{number:06d}.jsonl"


def parts_of(folder: Path) -> list[Path]:
    """The files that hold the rows of a run, in order; none where nothing is written yet."""
    older = [path for path in folder.glob("results-*.jsonl") if ROLLED.fullmatch(path.name)]
    newest = folder / RESULTS
    return sorted(older, key=number_of) + [newest] * newest.is_file()


def line_of(row: Row) -> bytes:
    return json.dumps(public(row), allow_nan=False).encode() + b"\n"


def write_rows(folder: Path, rows: Iterable[Row], roll_bytes: int = 0) -> None:
    """All rows of a run, in place of what is there. Raises ``StorageError``.

    A single file is replaced at once, so that who follows it reads no row twice. Of several, a
    process that dies meanwhile leaves fewer rows than the ledger has, never other ones.
    """
    before = parts_of(folder)
    if roll_bytes:
        for path in before:
            path.unlink()
    lines, number, ended = map(line_of, rows), 0, False
    while not ended:
        with whole(folder / RESULTS) as temporary:
            ended = _written(lines, temporary, roll_bytes)
        if not ended:
            number += 1
            (folder / RESULTS).rename(rolled(folder, number))
    for path in before:
        if not roll_bytes and path.name != RESULTS:
            path.unlink()


def _written(lines: Iterator[bytes], path: Path, roll_bytes: int) -> bool:
    """Lines until the file is as large as ``roll_bytes``; True where there are no more."""
    size = 0
    with path.open("wb") as file:
        for line in lines:
            size += file.write(line)
            if 0 < roll_bytes <= size:
                return False
    return True


class RowFile:
    """The rows of a run that goes on, each as soon as it is in the ledger.

    What an earlier life of this process has not written is written first. ``ordered``: the run has
    an order of its own, in which its end has written the file: that is begun anew where rows are
    missing. Raises ``StorageError``; ``LedgerError``.
    """

    def __init__(
        self, folder: Path, ledger: TxLedger, roll_bytes: int = 0, ordered: bool = False
    ) -> None:
        self._folder, self._roll_bytes = folder, roll_bytes
        self._file: int | None = None
        self._size = 0
        parts = parts_of(folder)
        self._number = max(map(number_of, parts), default=0)
        with told(folder):
            lines, stored = sum(map(mended, parts)), sum(ledger.counts().values())
            if lines > stored or (ordered and lines < stored):
                for path in parts:
                    path.unlink()
                lines = self._number = 0
        for row in ledger.results(lines):
            self.write(row)

    def write(self, row: Row) -> None:
        """At once: who follows the file sees it."""
        with told(self._folder):
            if self._file is None:
                self._file = os.open(self._folder / RESULTS, APPEND, 0o666)
                self._size = os.fstat(self._file).st_size
            line = line_of(row)
            self._size += len(line)
            while line:
                line = line[os.write(self._file, line) :]
            if 0 < self._roll_bytes <= self._size:
                self._roll()

    def _roll(self) -> None:
        self.close()
        self._number += 1
        (self._folder / RESULTS).rename(rolled(self._folder, self._number))

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def mended(path: Path) -> int:
    """How many lines a file has; one that a dying process has not ended is removed."""
    lines = whole_bytes = read = 0
    with path.open("rb+") as file:
        while block := file.read(BLOCK):
            if count := block.count(b"\n"):
                lines, whole_bytes = lines + count, read + block.rindex(b"\n") + 1
            read += len(block)
        file.truncate(whole_bytes)
    return lines


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Raises ``StorageError`` for what the system refuses."""
    try:
        yield
    except OSError as error:
        reason = what_to_do(error, "mend the folder, and start the run again")
        raise StorageError(f"the results cannot be written to {folder}: {reason}.") from None
