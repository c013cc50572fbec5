"""The channel's broker: frames of several rounds, side information, and what these are charged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from broker_world import K, World, frame_id, nack, one, only, payload, result

from simulator.link import constants as c
from simulator.link import messages as m


def world(**settings: Any) -> World:
    w = World(**settings)
    w.tx()
    w.rx()
    w.hear(b"t")
    return w


def ask(w: World, **fields: Any) -> list[m.Message]:
    return w.ask(1, **({"rounds": 2, "k": 2 * K} | fields))


def granted(w: World) -> tuple[m.Grant, np.ndarray, np.ndarray]:
    """The last GRANT: message, h, what came back."""
    grant, (h, returned) = w.grants[frame_id(1)]
    return grant, np.frombuffer(h, "<c8"), np.frombuffer(returned, "<c8")


def test_two_rounds_arrive_as_one_frame() -> None:
    w = world(csit="average")
    ask(w)
    grant, h, returned = granted(w)
    assert (grant.number, h.tolist(), len(returned)) == (0, [1], 0)
    w.put(1, reference=bytes(12), side=b"side")
    grant, h, returned = granted(w)
    assert (grant.number, len(returned)) == (1, K) and w.state(1) == "granted"
    assert h[0] != 1  # what the receiver knows of the channel comes back, too
    assert w.put(1, number=1) == []
    ((arrival, parts),) = w.boxes.pop(b"r")
    assert isinstance(arrival, m.Arrival)
    assert (arrival.rounds, arrival.k, arrival.pilots) == (2, 2 * K, 0)
    symbols = np.frombuffer(parts[0], "<c8")
    assert np.array_equal(symbols[:K], returned) and not np.array_equal(symbols[K:], returned)
    assert parts[1:] == [h.tobytes(), b"side", bytes(12)]
    noise = symbols - np.tile(h[0] * np.frombuffer(payload(1), "<c8"), 2)
    assert np.abs(noise[:K] - noise[K:]).min() > 1e-3  # each round has noise of its own
    w.say("back", b"r", result(1))
    assert not w.broker.entries and not w.broker.held_bytes


def test_a_frame_that_is_asked_for_again_starts_at_its_first_round() -> None:
    """The same noise: whoever has been killed in between, the frame is the same."""
    w = world()
    ask(w)
    w.put(1)
    before = granted(w)[2]
    ask(w)
    assert granted(w)[0].number == 0 and not w.broker.held_bytes
    nack(w.put(1, number=1), "no-grant")
    w.put(1)
    assert np.array_equal(granted(w)[2], before)
    w.put(1, number=1)
    assert only(m.Arrival, w.hear(b"r"))[0].rounds == 2


@pytest.mark.parametrize(
    ("fields", "part", "code"),
    [
        ({"number": 2}, payload(1), "no-grant"),
        ({"number": 0}, payload(1), "no-grant"),
        ({"number": 1, "k": K - 1}, payload(1, K - 1), "bad-message"),
        ({"number": 1, "draw_key": bytes(32)}, payload(1), "bad-message"),
    ],
)
def test_rounds_that_are_not_what_was_granted(
    fields: dict[str, Any], part: bytes, code: str
) -> None:
    w = world()
    ask(w)
    w.put(1)
    nack(w.say("front", b"t", w.frame(1, **fields), part, b"", b""), code)
    assert only(m.Arrival, w.hear(b"r")) == []
    ask(w)
    w.put(1)
    w.put(1, number=1)
    assert len(only(m.Arrival, w.hear(b"r"))) == 1


def test_all_rounds_together_keep_to_the_budget() -> None:
    w = world()
    ask(w, k=2 * K - 1)
    said = nack(w.put(1), "bad-message")
    assert f"{2 * K} symbols, but at most {2 * K - 1}" in said.reason


def test_pilots_of_every_round_are_counted_and_say_the_gain() -> None:
    w = world(csir="estimated", pilots=2)
    ask(w)
    w.say("front", b"t", w.frame(1, pilots=2), payload(1, pilots=2), b"", b"")
    _, h, returned = granted(w)
    assert (len(h), len(returned)) == (0, K + 2)
    w.say("front", b"t", w.frame(1, pilots=2, number=1), payload(1, pilots=2), b"", b"")
    ((arrival, parts),) = w.boxes.pop(b"r")
    assert isinstance(arrival, m.Arrival)
    assert (arrival.k, arrival.pilots, len(parts[1])) == (2 * K, 4, 0)


def test_a_round_comes_back_when_it_has_left_the_air() -> None:
    w = world(symbol_rate_hz=4.0, airtime="sleep")  # 2 s a round
    ask(w)
    began = w.now
    w.put(1)
    assert w.state(1) == "returning" and w.broker.next_event(w.now) == began + 2
    w.later(2, ("front", b"t"), ("back", b"r"))
    assert w.state(1) == "granted" and granted(w)[0].number == 1
    w.put(1, number=1)
    w.later(2, ("front", b"t"), ("back", b"r"))
    (arrival,) = only(m.Arrival, w.hear(b"r"))
    assert arrival.air.airtime_modelled_s == arrival.air.airtime_observed_s == 4


def test_a_frame_between_its_rounds_is_given_up_when_its_tx_is_gone() -> None:
    w = world()
    ask(w)
    w.put(1)
    w.later(c.GRANT_S + 2, ("front", b"t"), ("back", b"r"))
    assert w.state(1) is None and not w.broker.held_bytes


def test_noise_on_the_way_back() -> None:
    clean, noisy = world(), world(feedback_snr_db=10.0)
    for w in (clean, noisy):
        ask(w)
        w.put(1)
    true, heard = granted(clean)[2], granted(noisy)[2]
    ratio = np.mean(np.abs(true) ** 2) / np.mean(np.abs(heard - true) ** 2)
    assert 0 < 10 * np.log10(ratio) < 20


def test_side_information_is_charged() -> None:
    side = bytes(100)
    for settings, uses in (({}, math.ceil(800 / math.log2(11))), ({"side": "free"}, 0)):
        w = world(symbol_rate_hz=1.0, **settings)
        w.ask(1)
        w.put(1, side=side)
        ((arrival, parts),) = w.boxes.pop(b"r")
        assert isinstance(arrival, m.Arrival)
        assert (arrival.side_uses, parts[2]) == (uses, side)
        assert arrival.air.airtime_modelled_s == K + uses


def test_too_much_side_information_is_refused() -> None:
    w = world()
    w.ask(1)
    nack(w.put(1, side=bytes(c.MAX_SIDE_BYTES + 1)), "bad-payload")
    assert isinstance(one(w.ask(1)), m.Grant)


def test_symbols_may_have_less_power_but_no_more() -> None:
    """Points of a constellation: the mean over a frame is that of the points that were used."""
    for factor, accepted in ((0.5, True), (1.02, False)):
        w = world()
        w.ask(1)
        part = (factor * np.frombuffer(payload(1), "<c8")).astype("<c8").tobytes()
        heard = w.say("front", b"t", w.frame(1), part, b"", b"")
        assert (heard == []) is accepted


def test_rounds_and_packets_are_refused_before_anything_is_sent() -> None:
    w = world(packets={"size": 2, "loss": 0.1})
    (said,) = ask(w)
    assert isinstance(said, m.Nack) and said.code == "unsupported"
    assert "channel.packets.size to 0" in said.reason and w.state(1) is None
    (granted_one,) = w.ask(2)
    assert isinstance(granted_one, m.Grant)


def test_packets_that_no_message_could_name_are_refused() -> None:
    w = world(packets={"size": 1, "loss": 0.1})
    (said,) = w.ask(1, k=8 * c.MAX_LOST_BYTES + 1)
    assert isinstance(said, m.Nack) and said.code == "unsupported"
    assert "too many for such small packets" in said.reason
