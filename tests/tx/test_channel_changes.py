"""A channel that changes, starts anew, is silent, busy or refuses for good."""

import pytest
from transmitter_world import Bench, frame_id, grant, job, nack, times_of_requests, welcome

from simulator.link import messages as m
from simulator.link.session import Rejected
from tx.flight import Encode


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
