"""Receivers that want whole streams: one home a transmitter, and another when that is gone."""

from broker_world import FRONT, World, frame_id, hello, one, only, result

from simulator.link import constants as c
from simulator.link import messages as m


def ready(w: World, name: str, slots: int = 4, affinity: bool = True) -> None:
    """A receiver comes in, or has other room from now on."""
    identity = name.encode()
    if identity not in w.broker.peers["back"]:
        w.say("back", identity, hello("rx", name))
    w.broker.receive("back", identity, m.encode(m.Ready(slots=slots, affinity=affinity)), w.now)


def frames_at(w: World, name: str) -> list[int]:
    """Numbers of the frames that a receiver has been given since it was asked last."""
    ids = [arrival.frame_id for arrival in only(m.Arrival, w.hear(name.encode()))]
    return [next(i for i in range(40) if frame_id(i) == each) for each in ids]


def world(affinity: bool = True) -> World:
    w = World()
    w.tx()
    for name in ("one", "two"):
        ready(w, name, affinity=affinity)
    w.hear(b"t")
    return w


def test_frames_of_one_transmitter_come_to_one_receiver_in_order() -> None:
    w = world()
    for i in range(4):
        w.bring(i)
    assert frames_at(w, "one") == [0, 1, 2, 3] and frames_at(w, "two") == []


def test_without_affinity_they_go_where_there_is_most_room() -> None:
    w = world(affinity=False)
    for i in range(4):
        w.bring(i)
    assert sorted(frames_at(w, "one") + frames_at(w, "two")) == [0, 1, 2, 3]
    assert len(w.broker.peers["back"][b"one"].leases) == 2


def test_a_stream_waits_for_its_home_and_others_are_not_kept() -> None:
    w = world()
    ready(w, "one", slots=1)
    ready(w, "two", slots=1)
    w.bring(0)
    w.bring(1)
    assert w.state(1) == "queued"
    w.tx(b"u", "other")
    w.bring(9, b"u")
    assert frames_at(w, "two") == [9]
    w.say("back", b"one", result(0))
    assert w.state(1) == "leased" and w.broker.entries[frame_id(1)].receiver == b"one"


def test_transmitters_are_spread_over_receivers() -> None:
    w = world()
    for i in range(4):
        identity = b"t%d" % i
        w.tx(identity, f"tx{i}")
        w.bring(i, identity)
    homes = [w.broker.entries[frame_id(i)].receiver for i in range(4)]
    assert sorted(homes) == [b"one", b"one", b"two", b"two"]


def test_when_the_home_is_gone_another_takes_over_in_order() -> None:
    w = world()
    for i in range(4):
        w.bring(i)
        w.now += 0.1
    frames_at(w, "two")
    w.later(c.SILENCE_S + 1, FRONT, ("back", b"two"))
    assert frames_at(w, "two") == [0, 1, 2, 3]
    ready(w, "one")  # it is back, but the stream has moved
    for i in range(4):
        w.say("back", b"two", result(i))
    w.hear(b"t")
    assert one(w.ask(5)).kind == "GRANT"
    w.put(5)
    assert w.broker.entries[frame_id(5)].receiver == b"two"


def test_a_receiver_that_is_started_again_keeps_its_streams() -> None:
    w = world()
    w.bring(0)
    w.say("back", b"again", hello("rx", "one"))
    w.say("back", b"again", m.Ready(slots=4, affinity=True))
    w.hear(b"t")
    w.bring(1)
    assert w.broker.entries[frame_id(1)].receiver == b"again"


def test_a_home_that_is_being_stopped_is_none() -> None:
    w = world()
    w.bring(0)
    ready(w, "one", slots=0)
    w.bring(1)
    assert w.broker.entries[frame_id(1)].receiver == b"two"
