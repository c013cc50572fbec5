"""Rows of a run while it goes on and at its end: each once, whole, in order, in parts."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.errors import StorageError
from simulator.link.ledger import TxLedger
from simulator.link.rows import ROW_KEYS, Row, make_row
from simulator.report.sources import read_folder
from simulator.rowfile import RESULTS, RowFile, parts_of, write_rows


def row(index: int) -> dict:
    return make_row(frame_id=f"{index:032x}", status="delivered", repeat=index, tx_at_s=1.0)


def store(ledger: TxLedger, *indices: int) -> None:
    ledger.store([(i.to_bytes(16, "big"), "delivered", row(i)) for i in indices])


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[TxLedger]:
    ledger = TxLedger(tmp_path / "tx.db")
    yield ledger
    ledger.close()


def numbers(folder: Path) -> list[int]:
    return [
        json.loads(line)["repeat"] for p in parts_of(folder) for line in p.read_text().splitlines()
    ]


def went_on(folder: Path, ledger: TxLedger, *indices: int, **options: object) -> None:
    """A life of the process, in which these frames get their rows."""
    file = RowFile(folder, ledger, **options)  # type: ignore[arg-type]
    for index in indices:
        store(ledger, index)
        file.write(row(index))
    file.close()


def test_each_row_is_there_at_once_and_as_it_is_at_the_end(
    tmp_path: Path, ledger: TxLedger
) -> None:
    file = RowFile(tmp_path, ledger)
    assert parts_of(tmp_path) == []  # nothing is written before the first row
    for index in range(3):
        file.write(row(index))
        assert numbers(tmp_path) == list(range(index + 1))
    file.close()
    lines = (tmp_path / RESULTS).read_bytes()
    write_rows(tmp_path, [row(index) for index in range(3)])
    assert (tmp_path / RESULTS).read_bytes() == lines
    assert list(json.loads(lines.splitlines()[0])) == list(ROW_KEYS)


def test_who_follows_the_file_reads_no_row_twice(tmp_path: Path, ledger: TxLedger) -> None:
    went_on(tmp_path, ledger, 1, 0)
    with (tmp_path / RESULTS).open() as followed:
        assert len(followed.readlines()) == 2
        write_rows(tmp_path, [row(0), row(1)])
        assert followed.read() == "" and numbers(tmp_path) == [0, 1]


@pytest.mark.parametrize("damage", ["", "half a line", "rows that only the ledger has"])
def test_a_life_goes_on_where_the_one_before_was_killed(
    tmp_path: Path, ledger: TxLedger, damage: str
) -> None:
    went_on(tmp_path, ledger, 0, 1)
    if damage == "half a line":
        store(ledger, 2)
        with (tmp_path / RESULTS).open("a") as file:
            file.write('{"repeat": 2, "fra')
    elif damage:
        store(ledger, 2)
    went_on(tmp_path, ledger, 3)
    assert numbers(tmp_path) == ([0, 1, 2, 3] if damage else [0, 1, 3])


def test_a_run_with_an_order_of_its_own_loses_and_doubles_nothing(
    tmp_path: Path, ledger: TxLedger
) -> None:
    went_on(tmp_path, ledger, 1, 0, ordered=True)
    write_rows(tmp_path, [row(0), row(1)])  # the end of it
    store(ledger, 3)
    went_on(tmp_path, ledger, 2, ordered=True)
    assert sorted(numbers(tmp_path)) == [0, 1, 2, 3]


def test_frames_that_are_tried_again_are_taken_out(tmp_path: Path, ledger: TxLedger) -> None:
    went_on(tmp_path, ledger, 0)
    dead = make_row(frame_id="d" * 32, status="dead", repeat=9)
    ledger.store([(b"d" * 16, "dead", dead)])
    went_on(tmp_path, ledger, 2)
    assert numbers(tmp_path) == [0, 9, 2]
    ledger.retry_dead()
    went_on(tmp_path, ledger, 9)
    assert numbers(tmp_path) == [0, 2, 9]


def test_parts_are_rolled_and_read_in_order(tmp_path: Path, ledger: TxLedger) -> None:
    went_on(tmp_path, ledger, *range(5), roll_bytes=2000)
    went_on(tmp_path, ledger, *range(5, 11), roll_bytes=2000)
    parts = parts_of(tmp_path)
    assert len(parts) >= 4 and parts[0].name == "results-000001.jsonl"
    assert numbers(tmp_path) == list(range(11))
    before = [part.read_bytes() for part in parts]
    rows: list[Row] = [row(index) for index in range(11)]
    write_rows(tmp_path, rows, 2000)
    assert [part.read_bytes() for part in parts_of(tmp_path)][: len(before)] == before
    write_rows(tmp_path, rows)  # a run that goes on without
    assert [part.name for part in parts_of(tmp_path)] == [RESULTS]
    assert numbers(tmp_path) == list(range(11))


def test_others_files_are_no_parts(tmp_path: Path) -> None:
    for name in ("results-mine.jsonl", "results-1.jsonl", "results-000001.jsonl.gz"):
        (tmp_path / name).write_text("{}")
    assert parts_of(tmp_path) == []


def test_a_run_is_finished_when_its_summary_says_so(tmp_path: Path, ledger: TxLedger) -> None:
    went_on(tmp_path, ledger, 1, 0)
    assert not read_folder(tmp_path).finished
    (tmp_path / "summary.json").write_text('{"frames": 2}')
    assert read_folder(tmp_path).finished
    went_on(tmp_path, ledger, 2)
    found = read_folder(tmp_path)
    assert not found.finished and [each["repeat"] for each in found.rows] == [1, 0, 2]


def test_a_folder_that_takes_no_file_is_a_sentence(tmp_path: Path, ledger: TxLedger) -> None:
    file = RowFile(tmp_path, ledger)
    (tmp_path / RESULTS).mkdir()
    with pytest.raises(StorageError, match=r"written to .*: Is a directory; mend the folder"):
        file.write(row(0))
