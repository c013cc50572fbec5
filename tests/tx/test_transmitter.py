"""The transmitter's rules under a virtual clock: nothing lost, nothing confirmed too early."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from msgspec.structs import replace

from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.ledger import TxLedger
from simulator.link.rows import ANCHORS, ROW_KEYS
from simulator.link.session import Rejected, Session
from simulator.phy.pilots import pilot_symbols
from tx.flight import Encode, Encoded, Load, Loaded, Refused
from tx.source import Job
from tx.transmitter import Transmitter, bounded

K = 8
POINT = m.Point(channel="rayleigh", snr_db=10.0, bandwidth_ratio="1/384")


def frame_id(i: int) -> bytes:
    return hashlib.sha256(b"id%d" % i).digest()[:16]


def job(i: int, path: str = "") -> Job:
    digest = hashlib.sha256(b"%d" % i).digest()
    return Job(frame_id(i), digest, Path(path or f"photo{i}.png"), digest, 0, POINT)


def welcome(epoch: str = "one", settings: str = "air", **fields: Any) -> m.Welcome:
    base = {"epoch": epoch, "settings": settings, "pilots": 0, "coherence_time": 0}
    base["receivers"] = 1
    return m.Welcome(**(base | fields))


class Granting(NamedTuple):
    """A GRANT and its binary parts."""

    message: m.Grant
    parts: tuple[bytes, bytes]


def grant(
    i: int,
    h: complex = 1 + 0.5j,
    settings: str = "air",
    number: int = 0,
    returned: np.ndarray | None = None,
) -> Granting:
    message = m.Grant(frame_id=frame_id(i), snr_db=10.0, settings=settings, number=number)
    came = b"" if returned is None else returned.astype("<c8").tobytes()
    return Granting(message, (np.array([h], "<c8").tobytes(), came))


def result(i: int, stages: dict[str, float] | None = None, **values: Any) -> m.Result:
    fields = {"frame_id": frame_id(i), "tx": "tx", "receiver": "rx1", "settings": "s"}
    return m.Result(**fields, values=values, stages=stages or {})


def nack(i: int, code: str, reason: str = "because") -> m.Nack:
    return m.Nack(code=code, reason=reason, frame_id=frame_id(i))


def symbols(k: int = K) -> np.ndarray:
    return np.ones(k, np.complex64)


@pytest.mark.parametrize(
    ("label", "sent"),
    [
        ("a/img.png", "a/img.png"),
        ("x" * 150 + "/" + "y" * 60 + "/img.png", "y" * 60 + "/img.png"),
        ("z" * 300, "z" * 200),
    ],
)
def test_a_long_label_loses_its_first_folders(label: str, sent: str) -> None:
    assert bounded(label) == sent


class Bench:
    """A transmitter with its channel, ledger and worker played by the test.

    ``calls`` is what it did to channel and ledger, in that order; ``sent`` takes the messages
    that were sent since it was asked last.
    """

    def __init__(self, jobs: Sequence[Job], finished: set[bytes] | None = None, **options: Any):
        self.calls: list[tuple[str, Any]] = []
        self.rows: dict[bytes, dict[str, Any]] = {fid: {} for fid in finished or ()}
        self.failures: dict[bytes, int] = {}
        self.reachable = True
        self.now = 100.0
        self.parts: tuple[Any, ...] = ()
        self.k, self.rounds, self.side = K, 1, b""
        hello = m.Hello(
            version=c.VERSION, role="tx", name="tx", run="run", settings="s", codec="codec"
        )
        given = {"codec": "codec", "run": "run", "seed": 7, "window": 1} | options
        self.tx = Transmitter(jobs, Session(hello, self.send), self, **given)

    def send(self, message: m.Message, parts: tuple[Any, ...]) -> bool:
        if isinstance(message, m.Frame):
            self.parts = tuple(bytes(part) for part in parts)
            m.decode(m.encode(message, self.parts))
        self.calls.append((message.kind, message))
        return self.reachable

    def finished(self) -> set[bytes]:
        return set(self.rows)

    def store(self, rows: list[tuple[bytes, str, dict[str, Any]]]) -> None:
        self.calls.append(("store", [fid for fid, _, _ in rows]))
        for fid, status, row in rows:
            assert row["status"] == status
            self.rows.setdefault(fid, row)

    def fail(self, fid: bytes, reason: str) -> int:
        self.failures[fid] = self.failures.get(fid, 0) + 1
        return self.failures[fid]

    def sent(self, *but: str) -> list[str]:
        kinds = [kind for kind, _ in self.calls if kind not in ("HELLO", "HEARTBEAT", *but)]
        self.calls.clear()
        return kinds

    def tick(self, seconds: float = 0.0) -> None:
        """Time passes; the channel stays alive."""
        end = self.now + seconds
        while True:
            beat = m.Heartbeat(times=[], epoch=self.tx.session.epoch)
            self.tx.receive(beat, self.now)
            self.tx.tick(self.now)
            if self.now >= end:
                return
            self.now = min(end, self.now + 0.125)

    def receive(self, message: m.Message | Granting) -> None:
        if isinstance(message, Granting):
            raw = m.decode(m.encode(message.message, message.parts))
            self.tx.receive(raw[0], self.now, raw[1])
        else:
            self.tx.receive(message, self.now)

    def results(self, *results: m.Result) -> None:
        self.tx.results(results, self.now)

    def work(self) -> list[Load | Encode]:
        work, self.tx.work = self.tx.work, []
        return work

    def load(self, load_s: float = 0.0) -> None:
        """The worker reads what it was given."""
        for task in self.work():
            assert isinstance(task, Load)
            pixels = np.zeros((2, 3, 3), np.uint8)
            loaded = Loaded(task.job, pixels, "a note", self.k, self.rounds, self.now, load_s)
            self.now += load_s
            self.tx.worked(loaded, self.now)

    def encode(self, encode_s: float = 0.0) -> None:
        for task in self.work():
            assert isinstance(task, Encode)
            self.now += encode_s
            made = Encoded(task.job.frame_id, task.grant, symbols(), self.side, encode_s)
            self.tx.worked(made, self.now)

    def asking(self) -> "Bench":
        """Welcomed, loaded, REQUEST sent."""
        self.receive(welcome())
        self.tick()
        self.load()
        assert set(self.sent()) == {"REQUEST"}
        return self

    def on_air(self) -> "Bench":
        """The FRAME is sent."""
        self.asking()
        for fid in self.tx.flights:
            message, parts = grant(0)
            self.receive(Granting(replace(message, frame_id=fid), parts))
        self.encode()
        assert set(self.sent()) == {"FRAME"}
        return self

    @property
    def row(self) -> dict[str, Any]:
        return self.rows[frame_id(0)]


# Start, window, order


def test_nothing_is_loaded_before_the_receivers_are_there() -> None:
    """A frame's clock runs from loading: it must not count the start of a receiver."""
    bench = Bench([job(0)], wait_receivers=2)
    bench.tick(3)
    bench.receive(welcome(receivers=0))
    bench.tick(1)
    bench.receive(welcome(receivers=1))
    bench.tick(1)
    assert not bench.tx.flights and not bench.work()
    bench.receive(welcome(receivers=2))
    bench.tick()
    assert bench.work() == [Load(job(0))]


def test_receivers_are_waited_for_once() -> None:
    bench = Bench([job(0), job(1)]).asking()
    bench.receive(welcome(receivers=0))
    bench.receive(grant(0))
    bench.encode()
    bench.results(result(0))
    bench.tick()
    assert bench.work() == [Load(job(1))]


def test_the_window_is_kept_full_and_not_exceeded() -> None:
    bench = Bench([job(i) for i in range(5)], window=3)
    bench.receive(welcome())
    bench.tick(1)
    assert bench.work() == [Load(job(0)), Load(job(1)), Load(job(2))]
    bench.results(result(1))
    bench.tick(1)
    assert bench.work() == [Load(job(3))]
    assert len(bench.tx.flights) == 3
    bench.results(*(result(i) for i in (0, 2, 3)))
    bench.tick()
    bench.results(result(4))
    assert bench.tx.done


def test_request_then_grant_then_encode_then_frame() -> None:
    bench = Bench([job(0)])
    bench.receive(welcome())
    bench.tick()
    bench.load()
    ((_, request),) = bench.calls[1:]  # after the HEARTBEAT
    assert request == m.Request(frame_id=frame_id(0), draw_key=job(0).draw_key, point=POINT, k=K)
    assert bench.sent() == ["REQUEST"]
    assert not bench.work()  # nothing is encoded before the state is known
    bench.receive(grant(0))
    (task,) = bench.tx.work
    assert isinstance(task, Encode)
    assert (task.grant.state.snr_db, task.grant.state.h.tolist()) == (10.0, [1 + 0.5j])
    assert (task.ratio.numerator, task.ratio.denominator) == (1, 384)
    assert bench.sent() == []
    bench.encode()
    ((_, frame),) = bench.calls
    assert (frame.k, frame.pilots, frame.codec) == (K, 0, "codec")
    assert (frame.height, frame.width, frame.label) == (2, 3, "photo0.png")
    assert frame.settings == "air"
    assert bench.parts == (symbols().tobytes(), b"", bytes(18))


def test_the_reference_stays_at_home_where_it_is_not_wanted() -> None:
    bench = Bench([job(0)], attach_reference=False).on_air()
    assert bench.parts == (symbols().tobytes(), b"", b"")


def test_pilots_come_first_and_are_counted() -> None:
    bench = Bench([job(0)])
    bench.receive(welcome(pilots=2, coherence_time=5))  # 3 symbols a block: 3 blocks
    bench.tick()
    bench.load()
    bench.receive(grant(0))
    bench.encode()
    frame = bench.calls[-1][1]
    assert (frame.k, frame.pilots) == (K, 6)
    assert bench.parts[0] == np.concatenate([pilot_symbols(6), symbols()]).tobytes()


def test_names_that_are_not_utf8_are_sent_all_the_same() -> None:
    path = os.fsdecode(b"folder/caf\xe9.png")
    bench = Bench([job(0, path)]).asking()
    bench.receive(grant(0))
    bench.encode()
    assert bench.calls[-1][1].label == "caf\\xe9.png"
    bench.results(result(0))
    assert bench.row["image"] == "folder/caf\\xe9.png"


# Results


def test_confirm_only_after_the_ledger_holds_the_row() -> None:
    bench = Bench([job(0), job(1)], window=2).on_air()
    bench.results(result(0), result(1))
    assert [kind for kind, _ in bench.calls] == ["store", "CONFIRM", "CONFIRM"]
    assert bench.calls[0][1] == [frame_id(0), frame_id(1)]  # one transaction
    assert {call[1].frame_id for call in bench.calls[1:]} == {frame_id(0), frame_id(1)}
    assert {call[1].receiver for call in bench.calls[1:]} == {"rx1"}
    assert bench.tx.done and not bench.tx.flights


def test_no_confirm_when_the_ledger_fails() -> None:
    bench = Bench([job(0)]).on_air()

    def full(rows: Any) -> None:
        raise OSError("disk full")

    bench.store = full  # type: ignore[method-assign]
    with pytest.raises(OSError, match="disk full"):
        bench.results(result(0))
    assert bench.sent() == [] and not bench.tx.done


def test_duplicates_are_confirmed_and_not_stored() -> None:
    bench = Bench([job(0), job(1)]).on_air()
    bench.results(result(0, psnr_preview=30.0))
    bench.sent()
    bench.results(result(0, psnr_preview=40.0))
    assert bench.sent() == ["CONFIRM"]
    assert bench.row["psnr_preview"] == 30.0


def test_a_duplicate_within_one_batch() -> None:
    bench = Bench([job(0)]).on_air()
    bench.results(result(0, psnr_preview=30.0), result(0, psnr_preview=40.0))
    assert bench.sent() == ["store", "CONFIRM", "CONFIRM"]
    assert bench.row["psnr_preview"] == 30.0


def test_results_of_an_earlier_life_in_the_ledger_are_confirmed() -> None:
    bench = Bench([job(0)], finished={frame_id(5)}).on_air()
    bench.results(result(5))
    assert bench.sent() == ["CONFIRM"]


def test_results_of_another_run_are_neither_stored_nor_confirmed() -> None:
    """A tx of the same name in another run: to confirm for it would make rx forget."""
    bench = Bench([job(0)], finished={frame_id(5)}).on_air()
    bench.results(result(9), result(0))
    assert [kind for kind, _ in bench.calls] == ["store", "CONFIRM"]
    assert bench.calls[-1][1].frame_id == frame_id(0)
    assert set(bench.rows) == {frame_id(0), frame_id(5)}


def test_a_late_result_of_a_dead_frame_is_confirmed_and_changes_nothing() -> None:
    bench = Bench([job(0)]).on_air()
    bench.receive(nack(0, "receivers-lost"))
    bench.sent()
    bench.results(result(0))
    assert bench.sent() == ["CONFIRM"]
    assert bench.row["status"] == "dead"


def test_a_result_before_the_frame_was_even_asked_for() -> None:
    """Symbols of an earlier life: its times died with it, the quality did not."""
    bench = Bench([job(0), job(1)])
    bench.receive(welcome())
    bench.tick()
    bench.results(result(1, {"preview": 0.5}, psnr_preview=30.0, decode_s=0.1))
    row = bench.rows[frame_id(1)]
    assert row["status"] == "delivered" and row["psnr_preview"] == 30.0
    assert row["attempts"] == 0 and row["decode_s"] == 0.1
    assert row["time_to_preview_s"] is row["wire_s"] is row["encode_s"] is None
    bench.load()
    bench.results(result(0))
    bench.tick()
    assert bench.tx.done and not bench.work()


def test_events_of_a_frame_that_is_gone_are_ignored() -> None:
    bench = Bench([job(0)], window=1).asking()
    bench.receive(grant(0))
    bench.results(result(0))
    bench.sent()
    bench.encode()
    bench.receive(grant(0))
    bench.receive(m.Held(frame_id=frame_id(0)))
    bench.receive(m.Stage(frame_id=frame_id(0), tx="tx", stage="preview", elapsed_s=0.1))
    bench.receive(nack(0, "failed"))
    assert bench.sent() == [] and bench.failures == {}


def test_a_codec_may_send_fewer_symbols_than_it_asked_for() -> None:
    bench = Bench([job(0)]).asking()
    bench.receive(welcome("two", pilots=2))
    bench.receive(grant(0))
    (task,) = bench.work()
    assert isinstance(task, Encode)
    few = K - 3
    bench.tx.worked(Encoded(frame_id(0), task.grant, symbols(few), b"", 0.0), bench.now)
    _, frame = bench.calls[-1]
    assert (frame.k, frame.pilots) == (few, 2)
    assert bench.parts[0] == np.concatenate([pilot_symbols(2), symbols(few)]).tobytes()
    bench.results(result(0, k=few))
    assert bench.rows[frame_id(0)]["k"] == few


def test_what_an_earlier_life_has_sent_is_told_by_the_receiver() -> None:
    bench = Bench([job(0)]).asking()
    bench.results(result(0, k=K - 3))
    assert bench.rows[frame_id(0)]["k"] == K - 3


def test_a_row_is_whole_and_what_tx_knows_is_not_for_the_receiver_to_say() -> None:
    bench = Bench([job(0)]).on_air()
    told = {"run": "x", "frame_id": "x", "status": "dead", "image": "x", "attempts": 99, "seed": 1}
    bench.results(result(0, **told, stranger=1, psnr_preview=30.0, caption="a cat"))
    row = bench.row
    assert tuple(row) == (*ROW_KEYS, *ANCHORS)
    assert (row["run"], row["frame_id"], row["status"]) == ("run", frame_id(0).hex(), "delivered")
    assert (row["image"], row["attempts"], row["seed"]) == ("photo0.png", 1, 7)
    assert (row["psnr_preview"], row["caption"], row["receiver"]) == (30.0, "a cat", "rx1")
    assert (row["cbr"], row["channel"], row["snr_db"]) == ("1/384", "rayleigh", 10.0)
    assert (row["height"], row["width"], row["k"], row["notes"]) == (2, 3, K, "a note")
    assert row["overhead_bytes"] > 100


# Losses


def times_of_requests(bench: Bench, seconds: float) -> list[float]:
    """When tx asks, in seconds from now."""
    start, found = bench.now, []
    while bench.now < start + seconds:
        bench.now += 0.125
        bench.tick()
        found += [bench.now - start for kind in bench.sent() if kind == "REQUEST"]
    return found


def test_a_lost_grant_is_asked_for_again_with_doubling_pauses() -> None:
    bench = Bench([job(0)]).asking()
    assert times_of_requests(bench, 75) == [2, 6, 14, 30, 50, 70]
    bench.receive(grant(0))
    bench.encode()
    assert bench.sent() == ["FRAME"]
    bench.results(result(0))
    assert bench.row["attempts"] == 7
    assert bench.row["grant_wait_s"] == 75


def test_a_lost_frame_is_sent_again_only_when_granted_again() -> None:
    bench = Bench([job(0)]).on_air()
    before = bench.parts
    assert times_of_requests(bench, c.RESULT_TIMEOUT_S + 1) == [c.RESULT_TIMEOUT_S]
    bench.parts = ()
    bench.receive(grant(0))
    assert not bench.work()  # the same state: the symbols are there
    assert bench.sent() == ["FRAME"]
    assert bench.parts == before


def test_pauses_start_anew_once_a_frame_is_sent() -> None:
    bench = Bench([job(0)]).asking()
    times_of_requests(bench, 14)
    bench.receive(grant(0))
    bench.encode()
    bench.sent()
    assert times_of_requests(bench, 12) == [5, 7, 11]


def test_a_lost_result_is_asked_for_and_no_symbols_are_sent_for_it() -> None:
    bench = Bench([job(0)]).on_air()
    assert times_of_requests(bench, 5) == [5]
    bench.results(result(0))
    assert bench.sent() == ["store", "CONFIRM"]
    assert bench.tx.done


def test_a_frame_that_could_not_leave_is_asked_for_soon() -> None:
    bench = Bench([job(0)]).asking()
    bench.receive(grant(0))
    bench.reachable = False
    bench.encode()
    bench.sent()
    bench.reachable = True
    assert times_of_requests(bench, 1.5) == [c.HEARTBEAT_S]


def test_held_keeps_waiting() -> None:
    bench = Bench([job(0)]).on_air()
    for _ in range(5):
        assert times_of_requests(bench, 5) == [5]
        bench.receive(m.Held(frame_id=frame_id(0)))
    assert bench.sent() == []
    bench.results(result(0))
    assert bench.tx.done


def test_held_for_symbols_of_an_earlier_life() -> None:
    """This process never sent them: it waits for the result, and its times are unknown."""
    bench = Bench([job(0)]).asking()
    bench.receive(m.Held(frame_id=frame_id(0)))
    bench.receive(m.Stage(frame_id=frame_id(0), tx="tx", stage="preview", elapsed_s=0.1))
    assert times_of_requests(bench, 5) == [5]
    bench.receive(grant(0))  # it was lost after all
    bench.encode()
    bench.now += 1
    bench.results(result(0, {"preview": 0.25}))
    assert bench.row["time_to_preview_s"] == 5 + 1 - 0.25


def test_a_grant_that_was_not_asked_for_is_no_leave_to_send() -> None:
    bench = Bench([job(0)]).on_air()
    bench.receive(grant(0))
    assert bench.sent() == [] and not bench.work()


# A channel that changes


@pytest.mark.parametrize("code", ["stale", "no-grant"])
def test_refused_frames_are_asked_for_at_once(code: str) -> None:
    bench = Bench([job(0)]).on_air()
    bench.receive(nack(0, code))
    assert bench.sent() == ["REQUEST"]
    assert bench.failures == {}  # only receivers fail


def test_another_state_is_encoded_anew() -> None:
    bench = Bench([job(0)]).on_air()
    bench.receive(nack(0, "stale"))
    bench.sent()
    bench.receive(grant(0, h=2j))
    assert bench.sent() == []
    bench.encode()
    assert bench.sent() == ["FRAME"]


def test_a_channel_with_other_settings_is_encoded_for_anew() -> None:
    bench = Bench([job(0)]).on_air()
    bench.receive(welcome("two", settings="other"))
    assert bench.sent() == ["REQUEST"]
    bench.receive(grant(0, settings="other"))
    assert [type(task) for task in bench.tx.work] == [Encode]
    bench.encode()
    assert bench.calls[-1][1].settings == "other"


def test_what_was_encoded_under_settings_that_no_longer_hold_is_not_sent() -> None:
    bench = Bench([job(0)]).asking()
    bench.receive(grant(0))
    bench.receive(welcome("two", settings="other"))
    bench.encode()
    assert bench.sent() == ["REQUEST"]
    bench.receive(grant(0, settings="other"))
    bench.encode()
    assert bench.sent() == ["FRAME"]


def test_a_new_channel_is_asked_again_for_all_in_flight() -> None:
    bench = Bench([job(i) for i in range(4)], window=4)
    bench.receive(welcome())
    bench.tick()
    bench.load()
    bench.receive(grant(0))
    bench.receive(grant(1))
    tasks = bench.work()
    bench.tx.work = tasks[:1]
    bench.encode()
    bench.sent()  # now 0 is sent, 1 is being encoded, 2 and 3 ask
    bench.receive(welcome("two"))
    asked = [message.frame_id for kind, message in bench.calls if kind == "REQUEST"]
    assert asked == [frame_id(0), frame_id(2), frame_id(3)]
    bench.sent()
    bench.tx.work = tasks[1:]
    bench.encode()
    assert bench.sent() == ["FRAME"]  # the new channel has not granted it
    bench.receive(nack(1, "no-grant"))
    assert bench.sent() == ["REQUEST"]


def test_an_image_loaded_while_there_is_no_channel_is_asked_for_later() -> None:
    bench = Bench([job(0)])
    bench.receive(welcome())
    bench.tick()
    bench.receive(m.Nack(code="say-hello", reason="say HELLO first"))
    bench.load()
    assert bench.sent() == []
    bench.receive(welcome("two"))
    bench.tick()
    assert bench.sent() == ["REQUEST"]


def test_an_image_encoded_while_there_is_no_channel_is_asked_for_later() -> None:
    bench = Bench([job(0)]).asking()
    bench.receive(grant(0))
    bench.receive(m.Nack(code="say-hello", reason="say HELLO first"))
    bench.encode()
    assert bench.sent() == []
    bench.receive(welcome("two"))
    assert bench.sent() == ["REQUEST"]


def test_a_silent_channel_is_greeted_and_not_asked() -> None:
    bench = Bench([job(0)]).asking()
    for i in range(20):
        bench.tx.tick(bench.now + 1 + i)
    kinds = [kind for kind, _ in bench.calls]
    assert kinds[-10:] == ["HELLO"] * 10
    bench.now += 20
    bench.calls.clear()
    bench.receive(welcome())
    assert bench.sent() == ["REQUEST"]


def test_busy_is_asked_again_after_a_pause() -> None:
    bench = Bench([job(0)]).asking()
    bench.receive(nack(0, "busy"))
    assert bench.sent() == []
    assert times_of_requests(bench, 5) == [4]
    assert bench.failures == {}


def test_rejected_is_for_good() -> None:
    with pytest.raises(Rejected, match="other settings"):
        Bench([job(0)]).receive(m.Reject(code="settings", reason="other settings"))


# Failures


@pytest.mark.parametrize("code", ["failed", "bad-payload", "bad-message"])
def test_failures_are_counted_and_then_the_frame_is_dead(code: str) -> None:
    bench = Bench([job(0), job(1)], max_failures=3).on_air()
    for count in (1, 2):
        bench.receive(nack(0, code, f"reason {count}"))
        assert bench.failures[frame_id(0)] == count
        assert bench.sent() == ["REQUEST"]
        bench.receive(grant(0))
        assert bench.sent() == ["FRAME"]
    bench.receive(nack(0, code, "reason 3"))
    assert bench.sent() == ["store"]
    assert (bench.row["status"], bench.row["reason"]) == ("dead", "reason 3")
    assert bench.row["attempts"] == 3
    assert any("photo0.png: reason 3" in problem.sentence for problem in bench.tx.problems)
    bench.tick()
    assert bench.work() == [Load(job(1))]  # and the run goes on


@pytest.mark.parametrize("code", ["receivers-lost", "unsupported"])
def test_frames_that_nobody_can_take_are_dead_at_once(code: str) -> None:
    bench = Bench([job(0)]).on_air()
    bench.receive(nack(0, code, "20 receivers were lost"))
    assert (bench.row["status"], bench.row["reason"]) == ("dead", "20 receivers were lost")
    assert bench.failures == {} and bench.tx.done


def test_refused_images_have_a_row_and_make_room() -> None:
    bench = Bench([job(0), job(1)])
    bench.receive(welcome())
    bench.tick()
    (task,) = bench.work()
    bench.tx.worked(Refused(task.job, "photo0.png is empty"), bench.now)
    assert (bench.row["status"], bench.row["reason"]) == ("refused", "photo0.png is empty")
    assert bench.row["height"] is None and bench.row["cbr"] == "1/384"
    assert bench.sent() == ["store"]
    bench.tick()
    assert bench.work() == [Load(job(1))]


def test_strange_refusals_do_no_harm() -> None:
    bench = Bench([job(0)]).asking()
    bench.receive(m.Nack(code="bad-message", reason="no frame"))
    bench.receive(nack(9, "failed"))
    assert bench.sent() == [] and not bench.rows and not bench.failures
    assert [p.sentence for p in bench.tx.problems] == ["bad-message: no frame", "failed: because"]


# Times


def stage(i: int = 0, elapsed_s: float = 0.25) -> m.Stage:
    return m.Stage(frame_id=frame_id(i), tx="tx", stage="preview", elapsed_s=elapsed_s)


def timed_frame() -> Bench:
    """load 0.5 s, grant 0.25 s, encode 0.125 s; then on the air."""
    bench = Bench([job(0)])
    bench.receive(welcome())
    bench.receive(m.Heartbeat(times=[bench.now, bench.now + 1000, bench.now + 1000], epoch="one"))
    bench.tick()
    bench.load(0.5)
    bench.now += 0.25
    bench.receive(grant(0))
    bench.encode(0.125)
    return bench


TIMES = {"channel_queue_s": 0.125, "airtime_observed_s": 0.0625}


def test_times_of_a_frame() -> None:
    bench = timed_frame()
    bench.now += 1
    bench.receive(stage(elapsed_s=0.5))
    bench.now += 4
    bench.results(result(0, {"preview": 3.9}, **TIMES))
    row = bench.row
    assert (row["load_s"], row["grant_wait_s"], row["encode_s"]) == (0.5, 0.25, 0.125)
    assert row["time_to_preview_s"] == 0.875 + 1
    assert row["wire_s"] == 1 - 0.5 - 0.125 - 0.0625
    assert row["time_to_refined_s"] is None
    assert row["tx_at_s"] == 1100.0  # by the channel's clock


def test_a_lost_stage_is_reckoned_back_from_the_result() -> None:
    bench = timed_frame()
    bench.now += 5
    bench.results(result(0, {"preview": 4.0}, **TIMES))
    assert bench.row["time_to_preview_s"] == 0.875 + 1
    assert bench.row["wire_s"] is None  # the receiver's time until the stage is not known


def test_no_stage_at_all() -> None:
    """Answered from a receiver's store: nobody knows when the preview was there."""
    bench = timed_frame()
    bench.results(result(0))
    assert bench.row["time_to_preview_s"] is None


def test_the_first_stage_counts() -> None:
    bench = timed_frame()
    bench.now += 1
    bench.receive(stage())
    bench.now += 1
    bench.receive(stage())
    bench.results(result(0, {"preview": 0.0}))
    assert bench.row["time_to_preview_s"] == 0.875 + 1


@pytest.mark.parametrize("values", [{}, {"channel_queue_s": 9.0}, {"airtime_observed_s": None}])
def test_the_wire_never_takes_negative_time(values: dict[str, Any]) -> None:
    bench = timed_frame()
    bench.now += 0.125
    bench.receive(stage(elapsed_s=1.0))
    bench.results(result(0, {"preview": 0.0}, **values))
    assert bench.row["wire_s"] == 0


# With the real ledger


def test_with_the_real_ledger(tmp_path: Path) -> None:
    ledger = TxLedger(tmp_path / "tx.db")
    bench = Bench([job(0), job(1)], window=2)
    bench.tx = Transmitter([job(0), job(1)], bench.tx.session, ledger, "codec", "run", 0, 2)
    bench.on_air()
    bench.results(result(0))
    for _ in range(c.MAX_FAILURES):
        bench.receive(nack(1, "failed"))
        bench.receive(grant(1))
    assert ledger.counts() == {"delivered": 1, "dead": 1}
    again = Transmitter([], bench.tx.session, ledger, "codec", "run", 0, 2)
    bench.sent()
    again.results([result(0), result(1), result(2)], bench.now)
    assert [call[1].frame_id for call in bench.calls] == [frame_id(0), frame_id(1)]
    ledger.close()


def test_tx_says_why_it_waits() -> None:
    bench = Bench([], wait_receivers=1)
    bench.receive(welcome(receivers=0))
    bench.tick()
    assert "start rx" in str(bench.tx.waiting_for)
    bench.receive(m.Nack(code="receiver-refused", reason="rx 'rx' has other settings"))
    assert "the last one was refused: rx 'rx' has other settings" in str(bench.tx.waiting_for)
    assert bench.tx.problems[-1].sentence == "receiver-refused: rx 'rx' has other settings"
    bench.receive(welcome(receivers=1))
    bench.tick()
    assert bench.tx.waiting_for is None and bench.tx.refusal == ""
