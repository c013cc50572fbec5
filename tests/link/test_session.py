"""The greeting and the heartbeats of a client, under a virtual clock."""

from typing import Any

import pytest

from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.session import Rejected, Session
from simulator.phy.laws import Waveform

HELLO = m.Hello(version=c.VERSION, role="tx", name="tx", run="run", settings="s", codec="codec")
A = bytes(16)


def welcome(epoch: str = "one", receivers: int = 1) -> m.Welcome:
    return m.Welcome(
        epoch=epoch,
        settings="s",
        waveform=Waveform(),
        receivers=receivers,
        symbol_rate_hz=1e6,
        guard_s=0.0,
    )


@pytest.fixture
def sent() -> list[m.Message]:
    return []


@pytest.fixture
def session(sent: list[m.Message]) -> Session:
    def send(message: m.Message, parts: tuple[Any, ...]) -> bool:
        assert parts == ()
        sent.append(message)
        return True

    return Session(HELLO, send)


def ticks(session: Session, start: float, stop: float, step: float = 0.25) -> None:
    for i in range(round((stop - start) / step)):
        session.tick(start + i * step, [])


def kinds(sent: list[m.Message]) -> list[str]:
    return [message.kind for message in sent]


@pytest.mark.parametrize("start", [0.0, 1e6])
def test_hello_each_second_until_welcomed(session, sent, start: float) -> None:
    ticks(session, start, start + 5)
    assert sent == [HELLO] * 5
    assert session.epoch == ""


def test_heartbeats_with_the_running_frames_once_welcomed(session, sent) -> None:
    session.tick(0, [])
    assert session.receive(welcome(), 0.1) is True
    assert session.epoch == "one"
    for i in range(8):
        session.tick(0.25 + i * 0.25, [A])
    beats = sent[1:]
    assert kinds(beats) == ["HEARTBEAT"] * 2
    assert [beat.times for beat in beats] == [[0.25], [1.25]]
    assert all(beat.epoch == "one" and beat.running == [A] for beat in beats)


def test_a_heartbeat_names_no_more_frames_than_a_message_holds(session, sent) -> None:
    session.receive(welcome(), 0)
    session.tick(0, [bytes(16)] * 2000)
    assert len(sent[0].running) == 1024
    assert m.decode(m.encode(sent[0]))[0] == sent[0]


def test_any_message_breaks_the_silence_and_silence_is_a_loss(session, sent) -> None:
    session.receive(welcome(), 0)
    session.receive(m.Held(frame_id=A), 5.0)
    session.tick(5.0 + c.SILENCE_S, [])
    assert session.welcome is not None
    sent.clear()
    session.tick(5.1 + c.SILENCE_S, [])
    assert session.epoch == ""
    assert sent == [HELLO]  # at once
    ticks(session, 11.25, 14.25)
    assert kinds(sent) == ["HELLO"] * 3


def test_the_same_channel_after_silence_counts_as_new(session) -> None:
    """It may have forgotten us: what we hold there has to be asked for again."""
    session.receive(welcome(), 0)
    session.tick(c.SILENCE_S + 1, [])
    assert session.receive(welcome(), 8) is True


def test_a_repeated_welcome_is_news_but_no_new_channel(session) -> None:
    session.receive(welcome(), 0)
    session.receive(m.Heartbeat(times=[1.0, 101.1, 101.1], epoch="one"), 1.2)
    assert session.receive(welcome(receivers=3), 2) is False
    assert session.welcome.receivers == 3
    session.receive(m.Heartbeat(times=[3.0, 104.0, 104.0], epoch="one"), 4.0)  # a slow one
    assert session.offset.offset_s == pytest.approx(100.0)


def test_a_welcome_of_another_epoch_is_a_new_channel(session) -> None:
    session.receive(welcome(), 0)
    assert session.receive(welcome("two"), 1) is True
    assert session.epoch == "two"


def test_a_heartbeat_of_another_epoch_makes_us_greet_again(session, sent) -> None:
    session.receive(welcome(), 0)
    assert session.receive(m.Heartbeat(times=[0.5, 9.0, 9.0], epoch="two"), 1) is False
    session.tick(1, [])
    assert sent == [HELLO]
    assert session.receive(welcome("two"), 1.1) is True


def test_say_hello_makes_us_greet_at_the_next_tick(session, sent) -> None:
    session.tick(0, [])
    session.receive(welcome(), 0.1)
    assert session.receive(m.Nack(code="say-hello", reason="say HELLO first"), 0.2) is False
    session.tick(0.3, [])
    assert sent == [HELLO, HELLO]


def test_other_refusals_leave_the_session_alone(session) -> None:
    session.receive(welcome(), 0)
    session.receive(m.Nack(code="busy", reason="full"), 0.2)
    assert session.epoch == "one"


def test_clock_offset_by_the_shortest_round_trip(session) -> None:
    """Their clock is 100 s ahead; the way there takes 0.4 s, then 0.1 s, then 0.3 s."""
    session.receive(welcome(), 0)
    for sent_at, there in ((1.0, 0.4), (2.0, 0.1), (3.0, 0.3)):
        arrived = sent_at + 100 + there
        beat = m.Heartbeat(times=[sent_at, arrived, arrived + 0.05], epoch="one")
        session.receive(beat, sent_at + there + 0.05 + 0.1)
    assert session.offset.round_trip_s == pytest.approx(0.2)
    assert session.offset.offset_s == pytest.approx(100.0)


def test_the_offset_to_a_new_channel_is_measured_anew(session) -> None:
    session.receive(welcome(), 0)
    session.receive(m.Heartbeat(times=[1.0, 101.0, 101.0], epoch="one"), 1.0)
    session.receive(welcome("two"), 2)
    session.receive(m.Heartbeat(times=[3.0, 54.0, 54.0], epoch="two"), 5.0)
    assert session.offset.offset_s == pytest.approx(50.0)


@pytest.mark.parametrize("times", [[], [1.0], [1.0, 2.0]])
def test_unanswered_heartbeats_measure_nothing(session, times: list[float]) -> None:
    session.receive(welcome(), 0)
    session.receive(m.Heartbeat(times=times, epoch="one"), 1)
    assert session.offset.round_trip_s == float("inf")
    assert session.epoch == "one"


def test_reject_is_for_good_and_says_why(session) -> None:
    with pytest.raises(Rejected, match="another process took the name"):
        session.receive(m.Reject(code="name", reason="another process took the name"), 0)
