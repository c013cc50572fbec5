"""The channel's broker: bounds, quotas of one transmitter, airtime."""

from typing import Any

import pytest
from broker_world import (
    FRONT,
    K,
    World,
    frame_id,
    nack,
    one,
    only,
    payload,
    reject,
    result,
)

from channel.airtime import Air
from simulator.link import constants as c
from simulator.link import messages as m
from simulator.phy.airtime import airtime_s
from simulator.phy.laws import LAWS

# Bounds


def test_frames_beyond_the_queue_wait_for_room() -> None:
    w = World(queue_frames=2)
    w.tx()
    w.rx(slots=2)
    w.hear(b"t")
    assert [len(w.ask(i)) for i in range(4)] == [1, 1, 0, 0]
    assert w.ask(2) == []  # still waiting
    w.put(0)
    w.say("back", b"r", result(0))
    granted = only(m.Grant, w.hear(b"t"))
    assert [g.frame_id for g in granted] == [frame_id(2)]


def test_frames_that_would_fill_more_than_a_message_are_refused() -> None:
    """Eight antennas receive eight values of each symbol, and those of four rounds are one part."""
    w = World(mimo={"transmit": 1, "receive": 8, "scheme": "mrc"})
    w.tx()
    point = m.WirePoint(channel="mimo", snr_db=10.0, bandwidth_ratio="1/384")
    most = c.MAX_PART_BYTES // 8 // 8
    for rounds in (1, 4):
        told = nack(w.ask(1, point=point, k=most + rounds, rounds=rounds), "unsupported")
        assert "which no message holds" in told.reason and not w.broker.entries
    w.ask(2, point=point)
    w.say("front", b"t", w.frame(2, point=point), payload(2), b"", b"")
    assert w.broker.held_bytes == 8 * 8 * K  # what is kept is counted, not what was sent
    assert w.ask(1, k=c.MAX_SYMBOLS)  # one antenna receives as many as are sent


def test_impairments_of_several_antennas_are_refused() -> None:
    """A channel that is started alone is asked for kinds that its settings do not name."""
    w = World(impairments=["cfo:hz=9"])
    w.tx()
    nack(
        w.ask(1, point=m.WirePoint(channel="mimo", snr_db=1.0, bandwidth_ratio="1/96")),
        "unsupported",
    )
    assert isinstance(one(w.ask(2)), m.Grant)


def test_requests_beyond_the_waiting_room_are_told_busy() -> None:
    w = World(queue_frames=1)
    w.tx()
    for i in range(5):
        w.ask(i)
    assert nack(w.ask(5), "busy").frame_id == frame_id(5)
    # Requests that nobody repeats make room, though nothing else happens.
    for _ in range(int(c.WAIT_S) + 1):
        w.later(1, FRONT)
        w.ask(0)
    assert w.state(0) == "granted" and len(w.broker.waiting) == 0
    assert w.ask(5) == []


def test_a_waiting_request_outlives_the_longest_pause_of_a_transmitter() -> None:
    w = World(queue_frames=1)
    w.tx()
    w.bring(0)
    w.ask(1)
    w.later(c.MAX_TIMEOUT_S + 1, FRONT)
    assert w.state(1) == "waiting"


def test_bytes_are_bounded_even_when_more_was_granted() -> None:
    size = 8 * K + 12
    w = World(queue_frames=9, queue_bytes=2 * size + 5)
    w.tx()
    for i in range(4):
        assert isinstance(one(w.ask(i)), m.Grant)
    assert w.put(0, reference=bytes(12)) == w.put(1, reference=bytes(12)) == []
    assert nack(w.put(2, reference=bytes(12)), "busy").frame_id == frame_id(2)
    assert w.broker.held_bytes == 2 * size
    w.rx()
    w.say("back", b"r", result(0))
    w.hear(b"t")
    w.ask(2)
    assert w.put(2, reference=bytes(12)) == []


def test_one_frame_larger_than_the_queue_gets_through_alone() -> None:
    w = World(queue_bytes=10)
    w.tx()
    w.bring(1)
    assert w.ask(2) == [] and w.state(2) == "waiting"


def test_remembered_results_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "REMEMBERED_RESULTS", 3)
    w = World()
    w.rx()
    for i in (0, 1, 2, 0, 3):
        w.say("back", b"r", result(i))
    assert set(w.broker.remembered) == {frame_id(i) for i in (2, 0, 3)}


def test_runs_and_replaced_connections_are_forgotten_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(c, "MAX_CLIENTS", 2)
    w = World()
    for i in range(30):
        w.rx(b"r%d" % i)
        w.tx(b"t%d" % i, run=f"run{i}")
        w.later(10, ("back", b"r%d" % i))
    assert len(w.broker.guests.greeted) == len(w.broker.guests.replaced) == 8
    assert len(w.broker.peers["back"]) == 1


# Quotas of one transmitter


def test_a_transmitter_over_its_frames_waits_and_others_do_not() -> None:
    w = World(client_frames=2)
    w.rx(slots=9)
    for identity, name in ((b"t", "greedy"), (b"u", "other")):
        w.tx(identity, name)
    assert [len(w.ask(i)) for i in range(4)] == [1, 1, 0, 0]  # no grant, and no refusal
    assert isinstance(one(w.ask(9, b"u")), m.Grant)  # passes those that wait
    w.put(0)
    assert w.hear(b"t") == []  # at a receiver, a frame counts still
    w.say("back", b"r", result(0, tx="greedy"))
    assert [g.frame_id for g in only(m.Grant, w.hear(b"t"))] == [frame_id(2)]
    assert w.broker.quotas.met == {"frames": 2} and not w.broker.refused


def test_a_transmitter_over_its_bytes_waits() -> None:
    w = World(client_bytes=2 * 8 * K)
    w.tx()
    for i in range(2):
        w.bring(i)
    assert w.ask(2) == [] and w.state(2) == "waiting"
    w.rx()
    w.hear(b"t")
    w.say("back", b"r", result(0))
    assert len(only(m.Grant, w.hear(b"t"))) == 1 and w.broker.quotas.met == {"bytes": 1}


def test_grants_come_at_the_rate_of_a_transmitter() -> None:
    w = World(client_rate_hz=4)
    w.tx()
    assert sum(len(w.ask(i)) for i in range(20)) == 4  # a second's worth at once
    w.later(3, FRONT)
    assert len(only(m.Grant, w.hear(b"t"))) == 12
    w.later(60, FRONT)
    assert w.broker.quotas.met == {"rate": 16} and not w.broker.quotas.accounts
    assert not w.broker.refused


def test_one_transmitter_cannot_fill_the_waiting_room() -> None:
    w = World(client_frames=1, queue_frames=4)
    w.tx()
    w.tx(b"u", "other")
    for i in range(5):
        w.ask(i)
    assert nack(w.ask(5), "quota").frame_id == frame_id(5)
    assert isinstance(one(w.ask(9, b"u")), m.Grant)


def test_quotas_follow_the_name_that_a_frame_is_asked_for() -> None:
    w = World(client_frames=1)
    w.tx(b"t", "old")
    w.ask(1)
    w.ask(2)
    w.tx(b"u", "new")
    assert w.ask(1, b"u") and w.broker.quotas.accounts["new"].frames == 1
    w.broker.tick(w.now)  # the old one has room again, for what it waits for
    assert [g.frame_id for g in only(m.Grant, w.hear(b"t"))] == [frame_id(2)]
    w.later(c.SILENCE_S + c.GRANT_S + c.WAIT_S)
    assert not w.broker.entries and not w.broker.quotas.accounts


def test_no_quotas_at_all() -> None:
    w = World(client_frames=0, client_bytes=0, client_rate_hz=0)
    w.tx()
    assert sum(len(w.ask(i)) for i in range(256)) == 256
    w.later(c.SILENCE_S + c.GRANT_S + 2)
    assert not w.broker.entries and not w.broker.quotas.accounts


def test_runs_of_one_name_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "MAX_RUNS", 2)
    w = World()
    for i in range(2):
        w.tx(b"t%d" % i, run=f"run{i}")
    reject(w.tx(b"t2", run="run2"), "full")
    assert isinstance(one(w.tx(b"t3", run="run0")), m.Welcome)  # that comes back
    assert isinstance(one(w.tx(b"u", "other")), m.Welcome)


# Airtime


def test_airtime_is_symbols_over_rate_and_guard() -> None:
    assert airtime_s(3000, 1e6, 0.002) == pytest.approx(0.005)
    account = Air(1000.0, 0.5, waits=False)
    assert [account.book(100, 7.0) for _ in range(2)] == [(0.6, 7.0)] * 2
    sleep = Air(1000.0, 0.5, waits=True)
    assert sleep.book(100, 7.0) == (0.6, 7.6)
    assert sleep.book(400, 7.1) == (0.9, 8.5)  # one medium: after the frame before
    assert sleep.book(500, 20.0) == (1.0, 21.0)


def test_accounted_airtime_delays_nothing() -> None:
    w = World(symbol_rate_hz=2.0)
    w.tx()
    w.rx()
    w.hear(b"t")
    w.bring(1)
    (frame,) = only(m.Arrival, w.hear(b"r"))
    assert w.broker.next_event(w.now) is None
    assert (frame.air.airtime_modelled_s, frame.air.airtime_observed_s) == (K / 2, 0)


def test_fewer_symbols_than_were_granted_are_passed_on_and_take_the_air_of_what_was_sent() -> None:
    w = World(symbol_rate_hz=2.0, csir="estimated", pilots=2)
    w.tx()
    w.rx()
    w.hear(b"t")
    w.ask(1)
    few = K - 3
    sent = payload(1, few, pilots=2)
    assert w.say("front", b"t", w.frame(1, k=few, pilots=2), sent, b"", b"") == []
    (arrival,) = only(m.Arrival, w.hear(b"r"))
    assert (arrival.k, arrival.pilots) == (few, 2)
    assert arrival.air.airtime_modelled_s == (few + 2) / 2


def test_slept_airtime_is_waited_out_on_one_medium_for_all() -> None:
    w = World(symbol_rate_hz=4.0, guard_s=0.5, airtime="sleep")  # 2.5 s a frame
    w.tx()
    w.tx(b"u", "other")
    w.rx(slots=4)
    for identity in (b"t", b"u"):
        w.hear(identity)
    start = w.now
    w.bring(1)
    w.bring(2, b"u")
    assert w.broker.next_event(w.now) == start + 2.5 and w.state(1) == w.state(2) == "queued"
    w.now = start + 2.5
    w.broker.tick(w.now)
    assert (w.state(1), w.state(2)) == ("leased", "queued")
    assert w.broker.next_event(w.now) == start + 5
    w.now = start + 5.25
    w.broker.tick(w.now)
    one_air, two_air = (f.air for f in only(m.Arrival, w.hear(b"r")))
    assert one_air is not None and two_air is not None
    assert (one_air.airtime_modelled_s, one_air.airtime_observed_s) == (2.5, 2.5)
    assert (two_air.airtime_modelled_s, two_air.airtime_observed_s) == (2.5, 5.0)
    assert (one_air.queue_s, two_air.queue_s) == (0, 0.25)
    assert w.broker.next_event(w.now) is None


def test_several_transmitters_hear_their_own_results() -> None:
    w = World()
    w.rx(slots=4)
    for identity, name in ((b"t", "a"), (b"u", "b")):
        w.tx(identity, name)
    w.bring(1, b"t")
    w.bring(2, b"u")
    w.say("back", b"r", result(2, tx="b"))
    w.say("back", b"r", result(1, tx="a"))
    assert (w.hear(b"t"), w.hear(b"u")) == ([result(1, tx="a")], [result(2, tx="b")])


AIRS: list[dict[str, Any]] = [
    {},
    {"csit": "average", "csir": "estimated", "pilots": 2},
    {"csit": "average", "coherence_time": 4},
    {"csit": "delayed", "block_correlation": 0.9},
    {"csit": "quantised"},
    {"packets": {"size": 3, "loss": 0.5}, "impairments": ["adc:bits=6"]},
]


@pytest.mark.parametrize("air", AIRS)
@pytest.mark.parametrize("kind", LAWS)
def test_any_kind_may_be_asked_for(kind: str, air: dict[str, Any]) -> None:
    """Whatever the channel's own is: each is carried to a receiver, or refused with a reason."""
    w = World(**air)
    w.tx()
    w.rx()
    w.hear(b"t")
    point = m.WirePoint(channel=kind, snr_db=10.0, bandwidth_ratio="1/384")
    (said,) = w.ask(1, point=point)
    if isinstance(said, m.Nack):
        assert said.code == "unsupported" and (kind == "radio" or "impairments" in air)
        return
    pilots = w.broker.medium.law(point).pilots(K)
    frame = w.frame(1, point=point, pilots=pilots)
    assert w.say("front", b"t", frame, payload(1, pilots=pilots), b"", b"") == []
    (arrival,) = only(m.Arrival, w.hear(b"r"))
    assert arrival.point == point and arrival.uses == w.broker.medium.law(point).uses(K)


def test_a_radio_carries_no_emulated_kind() -> None:
    w = World()
    w.broker.medium.by_radio = True
    w.tx()
    said = nack(w.ask(1), "unsupported")
    assert "hands frames to a radio" in said.reason
