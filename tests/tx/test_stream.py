"""Frames that are put into a stream by other threads, and kept in the ledger until they end."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import wait_for

from simulator.link.ids import draw_key, frame_id
from simulator.link.ledger import KEPT_ROWS, LedgerError, NewestRows, TxLedger
from simulator.link.messages import WirePoint
from simulator.link.rows import make_row
from tx.announced import announce, announced
from tx.source import Job
from tx.stream import Stream, StreamClosed, sha256_of

POINT = WirePoint(channel="awgn", snr_db=10.0, bandwidth_ratio="1/384")
GREY = np.full((4, 6, 3), 128, np.uint8)


class Bench:
    """A stream whose frames are taken by a thread, one by one."""

    def __init__(self, first: int = 0) -> None:
        self.stream, self.woken, self.taken = Stream("camera", "run", 7), threading.Event(), []
        self.stream.begin(first, self.woken.set)

    def take(self, room: int = 1) -> list[Job]:
        jobs = list(self.stream.take(room))
        self.taken += jobs
        return jobs

    def put_in_a_thread(self, name: str) -> threading.Thread:
        thread = threading.Thread(target=self.put, args=(name,))
        thread.start()
        return thread

    def put(self, name: str = "", point: WirePoint = POINT) -> Job:
        return self.stream.put(GREY, sha256_of(GREY), point, name)


def served(bench: Bench, count: int, **given) -> list[Job]:
    """That many equal frames, each taken as soon as it is there."""
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            bench.woken.wait(0.01)
            bench.take()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        return [bench.put(**given) for _ in range(count)]
    finally:
        stop.set()
        thread.join()


def test_equal_pictures_are_frames_with_noise_of_their_own() -> None:
    bench = Bench(first=5)
    jobs = served(bench, 3)
    assert bench.taken == jobs and [job.repeat for job in jobs] == [5, 6, 7]
    digest = sha256_of(GREY)
    for job in jobs:
        named = f"camera/{POINT.name}"
        assert job.frame_id == frame_id("run", named, digest, job.repeat)
        assert job.draw_key == draw_key(7, digest, job.repeat)
    assert [job.name for job in jobs] == ["000005", "000006", "000007"]


def test_a_trace_goes_on_with_the_frames() -> None:
    trace = WirePoint(channel="awgn", snr_db=None, bandwidth_ratio="1/384")
    jobs = served(Bench(), 3, point=trace)
    assert [job.point.trace_index for job in jobs] == [0, 1, 2]


def test_who_puts_waits_until_it_is_taken() -> None:
    bench = Bench()
    thread = bench.put_in_a_thread("one")
    assert bench.woken.wait(60) and thread.is_alive()
    assert bench.take(0) == [] and thread.is_alive()
    (job,) = bench.take()
    thread.join(60)
    assert job.name == "one" and not thread.is_alive()


def test_what_is_not_taken_in_time_is_not_sent() -> None:
    bench, made = Bench(), []
    with pytest.raises(TimeoutError):
        bench.stream.put(GREY, bytes(32), POINT, "", 0.01, made.append)
    assert len(made) == 1 and bench.take() == []


def test_who_puts_goes_on_when_the_ledger_has_it() -> None:
    bench = Bench()
    thread = threading.Thread(
        target=bench.stream.put, args=(GREY, bytes(32), POINT, "one"), kwargs={"timeout": 0.05}
    )
    thread.start()
    assert bench.woken.wait(60)
    taken = iter(bench.stream.take(1))
    assert next(taken).name == "one"
    thread.join(0.2)
    assert thread.is_alive()  # past its time: what is on its way into the ledger is sent
    assert next(taken, None) is None
    thread.join(60)
    assert not thread.is_alive()


def test_a_closed_stream_takes_nothing_more_and_sends_what_it_has() -> None:
    bench = Bench()
    thread = bench.put_in_a_thread("last")
    assert bench.woken.wait(60)
    wait_for(lambda: not bench.stream.ended and bench.stream._offered)
    bench.stream.close()
    with pytest.raises(StreamClosed):
        bench.put()
    assert not bench.stream.ended
    assert [job.name for job in bench.take()] == ["last"]
    thread.join(60)
    assert bench.stream.ended


def test_whoever_waits_hears_that_the_transmitter_has_ended() -> None:
    bench, heard = Bench(), []

    def work() -> None:
        with pytest.raises(StreamClosed):
            bench.put()
        heard.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    assert bench.woken.wait(60)
    wait_for(lambda: bench.stream._offered)
    bench.stream.abandon()
    thread.join(60)
    assert heard == [True] and bench.stream.ended


# In the ledger


def jobs_of(tmp_path: Path) -> tuple[Job, Job]:
    array, file = served(Bench(), 2)
    values = {name: getattr(file, name) for name in Job.__slots__}
    return replace(array, notes=("RGBA to RGB",)), Job(
        **values | {"pixels": None, "path": tmp_path / "a.png", "label": "a.png"}
    )


def same(one: Job, other: Job) -> bool:
    names = [name for name in Job.__slots__ if name != "pixels"]
    return np.array_equal(one.pixels, other.pixels) and all(  # type: ignore[arg-type]
        getattr(one, name) == getattr(other, name) for name in names
    )


def test_announced_frames_come_again_until_they_have_a_row(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path)
    ledger = TxLedger(tmp_path / "tx.db")
    assert ledger.next_number() == 0
    for job in jobs:
        announce(ledger, job)
    ledger.close()
    again = TxLedger(tmp_path / "tx.db")
    assert again.next_number() == 2
    assert all(same(*pair) for pair in zip(jobs, announced(again), strict=True))
    assert set(again.images()) == {"000000", str(tmp_path / "a.png")}
    row = make_row(image="000000")
    again.store([(jobs[0].frame_id, "delivered", row)])
    (left,) = announced(again)
    assert same(left, jobs[1]) and again.next_number() == 2
    assert again.has(jobs[0].frame_id) and not again.has(jobs[1].frame_id)
    again.close()


def test_names_that_are_not_utf_8_come_again(tmp_path: Path) -> None:
    array, file = jobs_of(tmp_path)
    values = {name: getattr(file, name) for name in Job.__slots__}
    odd = Job(**values | {"path": Path(os.fsdecode(b"\xd6.png")), "label": "\udcd6.png"})
    values = {name: getattr(array, name) for name in Job.__slots__}
    half = Job(**values | {"path": Path("\ud800"), "label": "\ud800"})
    ledger = TxLedger(tmp_path / "tx.db")
    for job in (odd, half):
        announce(ledger, job)
    again = list(announced(ledger))
    assert set(ledger.images()) == {r"\xd6.png", r"\ud800"}  # as in rows
    assert {job.path: job.label for job in again} == {
        odd.path: r"\xd6.png",
        Path(r"\ud800"): r"\ud800",
    }
    ledger.close()


def test_a_damaged_frame_is_a_sentence(tmp_path: Path) -> None:
    ledger = TxLedger(tmp_path / "tx.db")
    announce(ledger, jobs_of(tmp_path)[0])
    ledger.run("UPDATE announced SET content = 'short'")
    with pytest.raises(LedgerError, match="holds a frame that is damaged"):
        list(announced(ledger))
    ledger.close()


def test_in_memory_only_the_newest_rows_are_kept() -> None:
    ledger = NewestRows()
    for start in range(0, 3 * KEPT_ROWS, 1000):
        ids = [i.to_bytes(16, "big") for i in range(start, start + 1000)]
        ledger.store([(each, "delivered", make_row()) for each in ids])
    assert sum(ledger.counts().values()) == KEPT_ROWS
    assert ledger.has(ids[-1]) and not ledger.has(bytes(16))
    ledger.close()
