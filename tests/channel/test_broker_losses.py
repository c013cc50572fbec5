"""What runs out or dies at the channel, and who gets a frame next."""

import pytest
from broker_world import (
    BACK,
    FRONT,
    World,
    frame_id,
    hello,
    nack,
    one,
    only,
    result,
)

from simulator.link import constants as c
from simulator.link import messages as m

# Running out


def test_a_grant_runs_out() -> None:
    w = World()
    w.tx()
    w.ask(1)
    w.later(c.GRANT_S - 1, FRONT)
    assert w.state(1) == "granted"
    w.later(2, FRONT)
    assert w.state(1) is None
    w.hear(b"t")
    nack(w.put(1), "no-grant")
    assert w.bring(1) == []


def test_a_lease_runs_out_unless_the_receiver_says_it_runs() -> None:
    w = World()
    w.tx()
    w.rx(b"r1", "one")
    w.hear(b"t")
    w.bring(1)
    for _ in range(60):
        w.later(1, FRONT)
        w.say("back", b"r1", m.Heartbeat(times=[0.0], running=[frame_id(1)]))
    assert w.state(1) == "leased"
    w.rx(b"r2", "two")
    w.later(c.LEASE_S + 1, FRONT, ("back", b"r1"), ("back", b"r2"))
    # The one of the lease was heard long ago; one more after it ran out.
    assert len(only(m.Arrival, w.hear(b"r1") + w.hear(b"r2"))) == 1
    assert w.broker.entries[frame_id(1)].lost == 1


def test_a_silent_receiver_gives_its_frames_back() -> None:
    w = World()
    w.tx()
    w.rx(b"r1", "one", slots=4)
    w.hear(b"t")
    w.bring(1)
    w.bring(2)
    w.rx(b"r2", "two", slots=4)
    w.later(c.SILENCE_S + 1, FRONT, ("back", b"r2"))
    assert {f.frame_id for f in only(m.Arrival, w.hear(b"r2"))} == {frame_id(1), frame_id(2)}


def test_a_receiver_that_comes_back_under_its_name_frees_its_frames_at_once() -> None:
    w = World()
    w.tx()
    w.rx(b"r1")
    w.hear(b"t")
    w.bring(1)
    w.rx(b"r2")
    assert len(only(m.Arrival, w.hear(b"r2"))) == 0  # heard with READY, already
    assert w.broker.entries[frame_id(1)].receiver == b"r2"
    assert list(w.broker.peers["back"]) == [b"r2"]


def test_hello_again_on_the_same_connection_keeps_leases() -> None:
    w = World()
    w.tx()
    w.rx(slots=2)
    w.hear(b"t")
    w.bring(1)
    w.say("back", b"r", hello("rx", "rx"))
    assert w.broker.entries[frame_id(1)].receiver == b"r" and w.broker.peers["back"][b"r"].room == 1


def test_a_silent_transmitter_leaves_nothing_that_blocks_others() -> None:
    w = World(queue_frames=1)
    w.tx()
    w.bring(1)  # queued: there is no receiver
    w.tx(b"u", "other")
    assert w.ask(2, b"u") == []  # waits
    w.later(c.SILENCE_S + 1, ("front", b"u"))
    assert w.state(1) is None and len(only(m.Grant, w.hear(b"u"))) == 1


def test_a_transmitter_that_returns_at_once_keeps_its_queued_frames() -> None:
    w = World()
    w.tx(b"t1")
    w.bring(1, b"t1")
    w.tx(b"t2")
    w.later(20, ("front", b"t2"))
    assert w.state(1) == "queued"
    w.rx()
    w.hear(b"t2")
    w.say("back", b"r", result(1))
    assert w.hear(b"t2") == [result(1)]


def test_a_run_that_continues_under_another_name_gets_its_grant() -> None:
    w = World()
    w.tx(b"t", "old")
    w.ask(1)
    w.tx(b"u", "new")
    assert isinstance(one(w.ask(1, b"u")), m.Grant)
    assert w.put(1, b"u") == [] and w.broker.entries[frame_id(1)].tx == "new"


def test_too_many_lost_receivers_end_a_frame() -> None:
    w = World(max_lost_receivers=3)
    w.tx()
    w.hear(b"t")
    w.bring(1)
    for i in range(3):
        w.rx(b"r%d" % i)
    w.say("back", b"r9", hello("rx", "rx"))
    said = nack([x for x in w.hear(b"t") if not isinstance(x, m.Welcome)], "receivers-lost")
    assert said.frame_id == frame_id(1) and w.state(1) is None


def test_no_limit_of_lost_receivers() -> None:
    w = World(max_lost_receivers=0)
    w.tx()
    w.bring(1)
    for i in range(50):
        w.rx(b"r%d" % i)
    assert w.state(1) == "leased"


def test_a_failure_reported_by_the_holder_reaches_tx() -> None:
    w = World()
    w.tx()
    w.rx(slots=2)
    w.rx(b"r2", "two")
    w.hear(b"t")
    w.bring(1)
    failed = m.Nack(code="failed", reason="too hard", frame_id=frame_id(1), tx="tx")
    w.say("back", b"r2", failed)  # does not hold it
    assert w.hear(b"t") == [] and w.state(1) == "leased"
    w.say("back", b"r", failed)
    assert w.hear(b"t") == [failed] and w.state(1) is None
    assert w.broker.peers["back"][b"r"].room == 2


def test_a_result_that_nobody_waits_for_is_kept_for_a_returning_tx() -> None:
    w = World()
    w.rx()
    w.say("back", b"r", result(1, n=1))
    w.say("back", b"r", result(1, n=2))  # offered again
    w.tx()
    assert w.ask(1) == [result(1, n=2)]


@pytest.mark.parametrize("state", ["waiting", "granted", "queued", "leased"])
def test_a_result_ends_a_frame_in_any_state(state: str) -> None:
    """A receiver that was thought lost may answer after tx has asked again."""
    w = World(queue_frames=1)
    w.tx()
    w.say("back", b"r", hello("rx", "rx"))
    w.hear(b"t")
    if state == "waiting":
        w.ask(2)
    w.ask(1)
    if state in ("queued", "leased"):
        w.put(1)
    if state == "leased":
        w.say("back", b"r", m.Ready(slots=1))
    assert w.state(1) == state
    w.hear(b"t")
    w.say("back", b"r", result(1))
    assert w.hear(b"t") == [result(1)] and w.state(1) is None


# Dispatch


def test_the_receiver_with_most_room_of_the_same_codec() -> None:
    w = World()
    w.rx(b"r1", "one", slots=2)
    w.rx(b"r2", "two", slots=3)
    w.rx(b"r3", "three", slots=9, codec="other")
    w.tx()
    for i in range(7):
        w.bring(i)
    holders = [w.broker.entries[frame_id(i)].receiver for i in range(7)]
    assert holders[0] == b"r2" and sorted(holders) == [b""] * 2 + [b"r1"] * 2 + [b"r2"] * 3
    assert w.state(6) == "queued"
    w.tx(b"u", "other", codec="other")
    w.ask(9, b"u")
    w.put(9, b"u", codec="other")  # passes those that nobody can take now
    assert w.broker.entries[frame_id(9)].receiver == b"r3"


def test_frames_leave_in_the_order_they_came_and_lost_ones_first() -> None:
    w = World()
    w.tx()
    for i in range(4):
        w.bring(i)
    w.rx(b"r1", slots=1)
    w.rx(b"r2", slots=1)
    assert w.broker.entries[frame_id(0)].receiver == b"r2"
    for i in range(4):
        assert w.broker.entries[frame_id(i)].receiver == b"r2"
        w.say("back", b"r2", result(i))


def test_what_cannot_be_sent_stays_queued() -> None:
    w = World()
    w.tx()
    w.bring(1)
    w.unreachable = {b"r"}
    w.rx()
    assert w.state(1) == "queued"
    w.later(3, FRONT, BACK)
    assert w.state(1) == "queued" and w.broker.entries[frame_id(1)].lost == 0
    w.unreachable = set()
    w.later(1, FRONT, BACK)
    assert w.state(1) == "leased"


def test_a_receiver_that_cannot_be_reached_does_not_keep_frames_from_others() -> None:
    w = World()
    w.tx()
    w.rx(b"r1", "one", slots=9)
    w.rx(b"r2", "two", slots=2)
    w.unreachable = {b"r1"}
    w.hear(b"t")
    for i in range(3):
        w.bring(i)
    assert [w.broker.entries[frame_id(i)].receiver for i in range(3)] == [b"r2", b"r2", b""]


def test_a_grant_that_could_not_be_sent_is_given_again() -> None:
    w = World()
    w.tx()
    w.unreachable = {b"t"}
    w.ask(1)
    w.unreachable = set()
    assert isinstance(one(w.ask(1)), m.Grant) and w.broker.admitted == 1
