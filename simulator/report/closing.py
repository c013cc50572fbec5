"""The end of a run: what people read, made from the ledger of tx."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from simulator.errors import StorageError
from simulator.link.ledger import LedgerError, TxLedger
from simulator.link.rows import Row
from simulator.link.rowtable import RowTable
from simulator.report.results import write_results
from simulator.report.sheet import write_sheet
from simulator.report.tables import markdown_of_points
from simulator.wholefile import what_to_do


@contextmanager
def opened(folder: Path) -> Iterator[TxLedger]:
    """The transmitter's ledger of a run folder. Raises ``StorageError``."""
    try:
        ledger = TxLedger(folder / "tx.db")
        try:
            yield ledger
        finally:
            ledger.close()
    except LedgerError as error:
        raise StorageError(str(error)) from None


def collect(folder: Path) -> RowTable:
    """The rows of a run folder from its ledger, in the order of their arrival."""
    with opened(folder) as ledger:
        return RowTable(ledger.results())


def finish(folder: Path, order: Mapping[bytes, int], roll_bytes: int = 0) -> list[Row]:
    """Write what people read, from the ledger; returns the rows in ``order``."""
    from simulator.report.html import closing_report  # of a long run, its imports come last

    def place(row: Row) -> int:
        return order.get(bytes.fromhex(row["frame_id"]), len(order))

    rows = sorted(collect(folder), key=place)
    try:
        write_results(folder, rows, roll_bytes)
        (folder / "table.md").write_text(markdown_of_points(rows), encoding="utf-8")
        write_sheet(folder, rows)
    except OSError as error:
        told = what_to_do(error, "mend the folder, and start the run again")
        raise StorageError(f"the results cannot be written to {folder}: {told}.") from None
    closing_report(folder, rows)
    return rows
