"""The ledgers: the first result stands, nothing stored is lost, errors are sentences."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.link.ledger import Ledger, LedgerError, RxLedger, TxLedger
from simulator.runfolder import count_results

A, B, C = bytes(16), b"\x01" * 16, b"\x02" * 16


def said(error: pytest.ExceptionInfo[LedgerError], path: Path) -> str:
    message = str(error.value)
    assert message.startswith(f"ledger {path} ") and message.endswith(".")
    assert "\n" not in message
    return message


# The transmitter's


def test_the_first_result_of_a_frame_stands(tmp_path: Path) -> None:
    ledger = TxLedger(tmp_path / "sub" / "tx.db")
    ledger.store([(A, "delivered", {"n": 1}), (A, "delivered", {"n": 2})])
    ledger.store([(A, "dead", {"n": 3}), (B, "dead", {"n": 4})])
    assert list(ledger.results()) == [{"n": 1}, {"n": 4}]
    assert ledger.finished() == {A, B}
    assert ledger.counts() == {"delivered": 1, "dead": 1}
    ledger.close()


def test_rows_are_there_after_opening_again(tmp_path: Path) -> None:
    ledger = TxLedger(tmp_path / "tx.db", "full")
    ledger.store([(A, "delivered", {"text": "größe", "none": None})])
    ledger.close()
    again = TxLedger(tmp_path / "tx.db")
    assert list(again.results()) == [{"text": "größe", "none": None}]
    again.close()


def test_failures_are_counted_and_dead_frames_can_be_tried_again(tmp_path: Path) -> None:
    ledger = TxLedger(tmp_path / "tx.db")
    assert [ledger.fail(A, "a"), ledger.fail(B, "b"), ledger.fail(A, "c")] == [1, 1, 2]
    ledger.store([(A, "dead", {}), (C, "delivered", {})])
    assert ledger.retry_dead() == 1
    assert ledger.finished() == {C}
    assert ledger.fail(A, "again") == 1  # forgotten with its death
    assert ledger.fail(B, "again") == 2  # not dead: still counted
    assert ledger.retry_dead() == 0
    ledger.close()


# The receiver's


def test_results_are_kept_by_frame_and_settings(tmp_path: Path) -> None:
    ledger = RxLedger(tmp_path / "rx.db")
    ledger.store([(A, "s1", "tx", {"n": 1})])
    ledger.store([(A, "s1", "other", {"n": 2})])
    ledger.store([(A, "s2", "tx", {"n": 3})])
    assert ledger.find(A, "s1") == ("tx", {"n": 1})
    assert ledger.find(A, "s2") == ("tx", {"n": 3})
    assert ledger.find(A, "s3") is None and ledger.find(B, "s1") is None
    ledger.close()


def test_what_is_unconfirmed_is_offered_and_confirming_deletes_nothing(tmp_path: Path) -> None:
    ledger = RxLedger(tmp_path / "rx.db")
    for fid in (A, B, C):
        ledger.store([(fid, "s", "tx", {"id": fid.hex()})])
    ledger.store([], [A, C, b"unknown"])
    ledger.store([])
    assert ledger.unconfirmed("s") == [(B, "tx", {"id": B.hex()})]
    assert ledger.unconfirmed("other") == []
    ledger.store([(A, "s", "tx", {"id": "again"})])  # a repeated computation
    assert ledger.find(A, "s") == ("tx", {"id": A.hex()})
    assert [row[0] for row in ledger.unconfirmed("s")] == [B]
    ledger.close()


# Meta


def test_another_value_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "tx.db"
    ledger = TxLedger(path)
    ledger.require("settings", "aa")
    ledger.require("settings", "aa")
    with pytest.raises(LedgerError) as error:
        ledger.require("settings", "bb")
    message = said(error, path)
    assert "was made with settings 'aa', not 'bb'" in message and "another output folder" in message
    assert ledger.get("settings") == "aa" and ledger.get("none") is None
    ledger.close()


def test_two_processes_that_start_together_agree_on_one_value(tmp_path: Path) -> None:
    one, two = TxLedger(tmp_path / "tx.db"), TxLedger(tmp_path / "tx.db")
    looks = iter([None])
    real = two.get
    two.get = lambda key: next(looks, real(key))  # type: ignore[method-assign]
    one.require("settings", "aa")  # between the other's look and its insert
    with pytest.raises(LedgerError, match="made with settings 'aa', not 'bb'"):
        two.require("settings", "bb")
    one.close()
    two.close()


def test_a_ledger_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tx.db"
    TxLedger(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    db.close()
    with pytest.raises(LedgerError, match="schema '99'") as error:
        TxLedger(path)
    said(error, path)


# What goes wrong


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "tx.db", tmp_path):
        with pytest.raises(LedgerError, match="cannot be opened") as error:
            TxLedger(path)
        said(error, path)


def test_a_file_that_is_no_ledger(tmp_path: Path) -> None:
    path = tmp_path / "tx.db"
    path.write_bytes(b"this is not a database, it only looks long enough to be one " * 40)
    with pytest.raises(LedgerError, match="cannot be opened: file is not a database") as error:
        TxLedger(path)
    said(error, path)
    assert path.read_bytes().startswith(b"this is not")


def test_damaged_pages(tmp_path: Path) -> None:
    path = tmp_path / "tx.db"
    ledger = TxLedger(path)
    ledger.store([(i.to_bytes(16, "big"), "delivered", {"n": "x" * 500}) for i in range(100)])
    ledger.close()
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(LedgerError) as error:
        damaged = TxLedger(path)
        try:
            list(damaged.results())
        finally:
            damaged.close()
    said(error, path)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """SQLite quotes them in its own words, which are then no text either."""
    path = tmp_path / "tx.db"
    TxLedger(path).close()
    whole = path.read_bytes()
    for there, instead in ((b"tablefailures", b"tablefa\xfflures"), (b"TABLE fail", b"TABLE (ail")):
        assert there in whole
        whole = whole.replace(there, instead)
    path.write_bytes(whole)
    with pytest.raises(LedgerError, match="cannot be opened: file is damaged") as error:
        TxLedger(path)
    said(error, path)
    with pytest.raises(sqlite3.DatabaseError, match="file is damaged"):
        count_results(path)


@pytest.mark.parametrize("body", ["{", "[]", b"\xdd\x00"])
def test_damaged_rows(tmp_path: Path, body: str | bytes) -> None:
    tx, rx = TxLedger(tmp_path / "tx.db"), RxLedger(tmp_path / "rx.db")
    tx.run("INSERT INTO results VALUES (?, 'delivered', ?)", (bytes(16), body))
    rx.run("INSERT INTO results VALUES (?, 's', 'tx', ?, 0)", (bytes(16), body))
    for read in (
        lambda: list(tx.results()),
        lambda: rx.find(bytes(16), "s"),
        lambda: rx.unconfirmed("s"),
    ):
        with pytest.raises(LedgerError, match="holds a row that is damaged"):
            read()
    tx.close()
    rx.close()


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    path = tmp_path / "tx.db"
    ledger = TxLedger(path)
    list(ledger.rows("PRAGMA max_page_count = 8"))
    with pytest.raises(LedgerError, match="cannot be written: database or disk is full") as error:
        ledger.store([(A, "delivered", {"n": "x" * 100_000}), (B, "delivered", {})])
    said(error, path)
    assert ledger.finished() == set()  # all or nothing
    ledger.close()


def test_another_kind_of_ledger_is_an_error_not_a_crash(tmp_path: Path) -> None:
    TxLedger(tmp_path / "x.db").close()
    other = RxLedger(tmp_path / "x.db")
    with pytest.raises(LedgerError):
        other.store([(A, "s", "tx", {})])
    with pytest.raises(LedgerError):
        other.store([], [A])
    with pytest.raises(LedgerError):
        other.find(A, "s")
    other.close()


def test_a_ledger_without_tables_of_its_own(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "a.db")
    assert ledger.get("schema") == "1"
    ledger.close()


WRITER = """
import sys
from pathlib import Path
from simulator.link.ledger import TxLedger
ledger = TxLedger(Path(sys.argv[1]))
n = 0
while True:
    ledger.store([(n.to_bytes(16, "big"), "delivered", {"n": n})])
    print(n, flush=True)  # said only after it was stored
    n += 1
"""


def test_what_was_stored_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "tx.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert writer.stdout is not None
    said_stored = [int(writer.stdout.readline()) for _ in range(50)]
    writer.send_signal(signal.SIGKILL)
    said_stored += [int(line) for line in writer.stdout.read().split()]
    writer.stdout.close()
    assert writer.wait(10) == -signal.SIGKILL
    ledger = TxLedger(path)
    kept = [row["n"] for row in ledger.results()]
    assert kept == list(range(len(kept)))
    assert len(said_stored) <= len(kept) <= len(said_stored) + 1
    assert ledger.finished() == {n.to_bytes(16, "big") for n in kept}
    assert next(ledger.rows("PRAGMA integrity_check")) == ("ok",)
    ledger.close()
    assert json.loads(json.dumps(kept)) == kept
