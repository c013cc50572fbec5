"""The receiver's rules under a virtual clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from receiver_world import (
    frame,
    frame_id,
)

from rx.receiver import Failed, Receiver, Staged, Stored, Task
from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.session import Session
from simulator.phy.laws import Laws, Waveform
from simulator.phy.packets import Packets


def welcome(epoch: str = "one", **fields: Any) -> m.Welcome:
    base = {"epoch": epoch, "settings": "air", "waveform": Waveform(), "receivers": 1}
    base |= {"symbol_rate_hz": 1e6, "guard_s": 0.0}
    return m.Welcome(**(base | fields))


class Bench:
    """A receiver whose channel and worker are played by the test."""

    def __init__(self, slots: int = 2) -> None:
        self.messages: list[m.Message] = []
        self.parts: list[tuple[bytes, ...]] = []
        self.now = 100.0
        hello = m.Hello(
            version=c.VERSION, role="rx", name="rx1", run="run", settings="s", codec="codec"
        )
        self.rx = Receiver(Session(hello, self.send), "rx1", "s", slots, self.pictures)
        self.receive(welcome())

    def pictures(self, values: Mapping[str, Any]) -> tuple[bytes, bytes]:
        return b"kept preview", b"kept refined"

    def send(self, message: m.Message, parts: tuple[Any, ...]) -> bool:
        self.parts.append(parts)
        self.messages.append(m.decode(m.encode(message, parts))[0])
        return True

    def sent(self) -> list[m.Message]:
        """What was sent since the last time, but for the session."""
        sent = [each for each in self.messages if not isinstance(each, m.Hello | m.Heartbeat)]
        self.messages.clear()
        return sent

    def receive(self, message: m.Message) -> None:
        self.rx.receive(message, (b"symbols", b"h", b"reference"), self.now)

    def tick(self, seconds: float = 0.0) -> None:
        end = self.now + seconds
        while True:
            self.receive(m.Heartbeat(times=[], epoch=self.rx.session.epoch))
            self.rx.tick(self.now)
            if self.now >= end:
                return
            self.now = min(end, self.now + 0.125)

    def done(self, i: int = 0, **values: Any) -> None:
        self.rx.worked(Stored(frame_id(i), "tx", values, {"preview": self.now}), self.now)

    def times_of_results(self, seconds: float) -> list[float]:
        start, found = self.now, []
        while self.now < start + seconds:
            self.now += 0.125
            self.tick()
            found += [self.now - start for each in self.sent() if isinstance(each, m.Result)]
        return found


# Slots and frames


def test_ready_with_all_slots_once_welcomed() -> None:
    assert Bench(slots=3).sent() == [m.Ready(slots=3)]


def test_a_frame_becomes_work_with_its_parts() -> None:
    bench = Bench()
    bench.receive(frame())
    law = Laws(Waveform()).of("rayleigh")
    assert list(bench.rx.work) == [
        Task(
            frame(),
            (b"symbols", b"h", b"reference"),
            100.0,
            law,
            Packets(),
        )
    ]
    bench.tick(1)
    (beat, *_) = [each for each in bench.messages if isinstance(each, m.Heartbeat)]
    assert beat.running == [frame_id(0)]  # its lease lasts


def test_each_frame_keeps_the_medium_that_it_came_through() -> None:
    """It is processed later, when the channel may be another one."""
    bench = Bench()
    bench.receive(welcome("two", waveform=Waveform(10, 2)))
    bench.receive(frame(0))
    bench.receive(welcome("three", waveform=Waveform(20, 4)))
    bench.receive(frame(1))
    expected = [Laws(Waveform(*each)).of("rayleigh") for each in ((10, 2), (20, 4))]
    assert [task.law for task in bench.rx.work] == expected


def test_a_frame_that_did_not_come_through_a_channel_is_ignored() -> None:
    bench = Bench()
    bench.receive(m.Frame(**{name: getattr(frame(), name) for name in m.Sent.__struct_fields__}))
    assert not bench.rx.work and not bench.rx.held


def test_a_duplicate_of_a_held_frame_is_no_second_work() -> None:
    bench = Bench()
    bench.receive(frame())
    bench.receive(frame())
    assert len(bench.rx.work) == 1


def test_a_duplicate_of_an_offered_frame_is_answered_with_the_result() -> None:
    bench = Bench()
    bench.receive(frame())
    bench.done(n=1)
    bench.rx.work.clear()
    bench.sent()
    bench.now += 1
    bench.receive(frame())
    (answer,) = bench.sent()
    assert isinstance(answer, m.Result) and answer.values == {"n": 1}
    assert answer.stages == {"preview": 1.0}
    assert not bench.rx.work


def test_frames_held_for_a_channel_that_is_gone_take_their_slots_along() -> None:
    bench = Bench(slots=3)
    bench.receive(frame(0))
    bench.receive(frame(1))
    bench.sent()
    bench.receive(welcome("two"))
    assert bench.sent() == [m.Ready(slots=1)]
    bench.receive(frame(0))  # the new channel leased it to us, too: it counts there
    assert bench.sent() == [m.Ready(slots=2)]
    assert len(bench.rx.work) == 2
    bench.receive(frame(0))
    assert bench.sent() == []
    bench.done(1)
    result, ready = bench.sent()
    assert isinstance(result, m.Result) and ready == m.Ready(slots=3)
    bench.done(0)
    assert [each.kind for each in bench.sent()] == ["RESULT"]


def test_more_orphans_than_slots() -> None:
    bench = Bench(slots=1)
    bench.receive(frame(0))
    bench.receive(frame(1))
    bench.sent()
    bench.receive(welcome("two"))
    assert bench.sent() == [m.Ready(slots=0)]


def test_draining_takes_no_more_and_finishes_what_is_held() -> None:
    bench = Bench(slots=2)
    bench.receive(frame(0))
    bench.sent()
    bench.rx.drain()
    assert bench.sent() == [m.Ready(slots=0)]
    bench.receive(welcome("two"))
    assert bench.sent() == [m.Ready(slots=0)]
    bench.done(0)
    assert [each.kind for each in bench.sent()] == ["RESULT", "READY"]


def test_a_channel_that_ignores_ready_cannot_fill_memory() -> None:
    """What is beyond twice the slots goes back as ``busy``: tx asks for it again."""
    bench = Bench(slots=2)
    for i in range(4):
        bench.receive(frame(i))
    bench.sent()
    bench.receive(frame(4))
    (nack,) = bench.sent()
    assert isinstance(nack, m.Nack)
    assert (nack.code, nack.frame_id, nack.tx) == ("busy", frame_id(4), "tx")
    assert len(bench.rx.held) == len(bench.rx.work) == 4


def test_a_failed_orphan_gives_its_slot_back() -> None:
    bench = Bench(slots=2)
    bench.receive(frame(0))
    bench.receive(welcome("two"))
    bench.sent()
    bench.rx.worked(Failed(frame_id(0), "tx", "odd"), bench.now)
    assert [each.kind for each in bench.sent()] == ["NACK", "READY"]


# Results


def test_stages_and_results_are_told() -> None:
    bench = Bench()
    bench.receive(frame())
    bench.sent()
    bench.rx.worked(Staged(frame_id(0), "tx", "preview", 100.5, 0.5), 100.5)
    assert bench.sent() == [m.Stage(frame_id=frame_id(0), tx="tx", stage="preview", elapsed_s=0.5)]
    values = {"n": 1}
    bench.rx.worked(Stored(frame_id(0), "tx", values, {"preview": 100.5}), 102.0)
    assert bench.sent() == [
        m.Result(
            frame_id=frame_id(0), tx="tx", receiver="rx1", settings="s", values=values,
            stages={"preview": 1.5},
        )
    ]  # fmt: skip
    assert not bench.rx.held


def test_failures_are_told_with_their_reason_and_not_repeated() -> None:
    bench = Bench()
    bench.receive(frame())
    bench.sent()
    bench.rx.worked(Failed(frame_id(0), "tx", "does not decode"), bench.now)
    assert bench.sent() == [
        m.Nack(code="failed", reason="does not decode", frame_id=frame_id(0), tx="tx")
    ]
    assert bench.times_of_results(30) == []
    bench.receive(frame())  # tx may try again
    assert len(bench.rx.work) == 2


def test_results_are_offered_with_doubling_pauses_until_confirmed() -> None:
    bench = Bench()
    bench.receive(frame())
    bench.done()
    bench.sent()
    assert bench.times_of_results(75) == [2, 6, 14, 30, 50, 70]
    bench.receive(m.Confirm(frame_id=frame_id(0), receiver="rx1"))
    assert bench.times_of_results(30) == []
    assert bench.rx.confirmed == [frame_id(0)]
    bench.receive(m.Confirm(frame_id=frame_id(0), receiver="rx1"))
    bench.receive(m.Confirm(frame_id=frame_id(9), receiver="rx1"))
    assert bench.rx.confirmed == [frame_id(0)]


def test_a_new_channel_is_offered_all_that_is_unconfirmed_at_once() -> None:
    bench = Bench()
    for i in range(3):
        bench.receive(frame(i))
        bench.done(i)
    bench.receive(m.Confirm(frame_id=frame_id(1), receiver="rx1"))
    bench.times_of_results(20)
    bench.receive(welcome("two"))
    bench.sent()
    bench.tick()
    assert [each.frame_id for each in bench.sent()] == [frame_id(0), frame_id(2)]
    assert bench.times_of_results(5) == [2, 2]


def test_nothing_is_offered_while_there_is_no_channel() -> None:
    bench = Bench()
    bench.receive(frame())
    bench.done()
    bench.sent()
    for i in range(60):
        bench.rx.tick(bench.now + i)
    assert len([each for each in bench.sent() if isinstance(each, m.Result)]) == 2  # before 6 s
    bench.now += 60
    bench.receive(welcome("two"))
    bench.tick()
    assert [each.kind for each in bench.sent()] == ["READY", "RESULT"]


# Pictures that go back


def returned(bench: Bench) -> list[tuple[bool, tuple[bytes, ...]]]:
    """(complete, pictures) of the RESULTs since the last time."""
    told = zip(bench.messages, bench.parts, strict=True)
    found = [(each.complete, parts) for each, parts in told if isinstance(each, m.Result)]
    bench.messages.clear()
    bench.parts.clear()
    return found


def test_stages_bring_pictures_and_later_offers_bring_them_again() -> None:
    bench = Bench()
    bench.receive(frame())
    bench.rx.worked(Staged(frame_id(0), "tx", "preview", 100.5, 0.5, b"picture"), 100.5)
    assert bench.parts[-1] == (b"picture",)
    bench.done(returned_bytes=7)
    assert returned(bench) == [(False, (b"", b""))]  # not twice where nothing was lost
    bench.tick(2)
    assert returned(bench) == [(True, (b"kept preview", b"kept refined"))]


def test_results_of_an_earlier_life_bring_their_pictures_at_once() -> None:
    bench = Bench()
    bench.rx.worked(Stored(frame_id(0), "tx", {"returned_bytes": 7}, {}), bench.now)
    assert returned(bench) == [(True, (b"kept preview", b"kept refined"))]


def test_pictures_that_nobody_wants_stay() -> None:
    bench = Bench()
    bench.receive(frame())
    bench.done(returned_bytes=None)
    bench.tick(2)
    assert returned(bench) == [(True, (b"", b""))] * 2
