"""Two users on the same channel uses, at the channel: who waits for whom, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from broker_world import K, World, nack, one, only, payload, reject, request, result
from msgspec.structs import replace

from channel.peers import Side
from channel.superposed import gain_of, received_of
from simulator.link import messages as m
from simulator.phy.state import ChannelState
from simulator.phy.superposition import charges, states_of, users_of

NAMES = ["cam1", "cam2"]
TX = (b"1", b"2")


def place(user: int, index: int, frames: int = 9, partner: m.Partner | None = None) -> m.Place:
    return m.Place(user=user, index=index, frames=frames, partner=partner)  # type: ignore[arg-type]


def number(user: int, index: int) -> int:
    """Of a frame, by which ``broker_world`` makes its id, its draw key and its symbols."""
    return 2 * index + user


class Two(World):
    """cam1 and cam2 at a channel that superposes them, of ``frames`` each."""

    def __init__(self, frames: Sequence[int] = (9, 9), **given: Any) -> None:
        self.frames = frames
        super().__init__(superposed=NAMES, **given)
        self.partners: list[m.Partner | None] = [None, None]  # as tx keeps them

    def later(self, seconds: float, *beating: tuple[Side, bytes]) -> None:
        """Answers to heartbeats are nothing to be looked at."""
        super().later(seconds, *beating)
        for identity, heard in list(self.boxes.items()):
            self.boxes[identity] = [each for each in heard if not isinstance(each[0], m.Heartbeat)]

    def enter(self, *users: int) -> None:
        for user in users or (0, 1):
            self.say_hello(user)

    def say_hello(self, user: int) -> None:
        (welcome,) = self.tx(TX[user], NAMES[user], run=f"run{user}")
        assert isinstance(welcome, m.Welcome)

    def wants(self, user: int, index: int, **fields: Any) -> list[m.Message]:
        where = place(user, index, self.frames[user], self.partners[user])
        return self.ask(number(user, index), TX[user], **({"place": where} | fields))

    def send(self, side: Side, identity: bytes, message: m.Message, parts: tuple[Any, ...]) -> bool:
        if isinstance(message, m.Grant) and message.partner:
            self.partners[TX.index(identity)] = message.partner
        return super().send(side, identity, message, parts)

    def sends(self, user: int, index: int) -> list[m.Message]:
        return self.put(number(user, index), TX[user])

    def pair_at_rx(self, index: int = 0) -> tuple[m.Pair, list[bytes]]:
        """Both frames of a place go through, to the one receiver."""
        for user in (0, 1):
            self.wants(user, index)
        for user in (0, 1):
            self.sends(user, index)
        ((message, parts),) = self.boxes.pop(b"r")
        assert isinstance(message, m.Pair)
        return message, parts

    def which(self, user: int, index: int) -> str | None:
        return self.state(number(user, index))


@pytest.fixture
def two() -> Two:
    world = Two()
    world.enter()
    world.rx(slots=4)
    world.boxes.clear()
    return world


def test_a_grant_comes_when_both_have_asked_and_says_the_sinr_of_each(two: Two) -> None:
    assert not two.wants(0, 0) and two.which(0, 0) == "waiting"
    two.later(30, *(("front", tx) for tx in TX), ("back", b"r"))
    assert not two.wants(0, 0) and not two.hear(TX[1])  # no clock ends it
    grants = [only(m.Grant, two.wants(1, 0)), only(m.Grant, two.hear(TX[0]))]
    medium, point = two.broker.medium, request(0).point
    told = [gain_of(medium, request(number(user, 0)).draw_key, point) for user in (0, 1)]
    states = states_of(0.8, (told[0], told[1]), (K, K), 10.0)
    for (grant,), state, user in zip(grants, states[::-1], (1, 0), strict=True):
        h = np.frombuffer(two.grants[grant.frame_id][1][0], np.complex64)
        assert ChannelState(grant.snr_db, h).same_as(state)
        assert grant.partner == m.Partner(run=f"run{1 - user}", frames=9)


def test_both_frames_are_received_as_one_and_leave_one_by_one(two: Two) -> None:
    for user in (0, 1):
        two.wants(user, 0)
    two.sends(1, 0)
    assert two.which(1, 0) == "half" and b"r" not in two.boxes
    assert isinstance(one(two.wants(1, 0)), m.Held) and isinstance(one(two.sends(1, 0)), m.Held)
    two.sends(0, 0)
    ((pair, parts),) = two.boxes.pop(b"r")
    assert isinstance(pair, m.Pair) and (pair.share, pair.draws) == (0.8, 2)
    frames = pair.first, pair.second
    assert [frame.air.tx for frame in frames] == NAMES
    assert [frame.uses for frame in frames] == list(charges((K, K)))
    medium, point = two.broker.medium, frames[0].point
    h = [gain_of(medium, frame.draw_key, point) for frame in frames]
    assert np.frombuffer(parts[1], np.complex64).tolist() == [*h, *h]
    users = users_of(0.8, (h[0], h[1]), (K, K))
    sent = [np.frombuffer(payload(number(user, 0)), np.complex64) for user in (0, 1)]
    received, noise = received_of(medium, users, frames[0].draw_key, point, sent)
    assert np.array_equal(np.frombuffer(parts[0], np.complex64), received)
    for frame, user, symbols in zip(frames, users, sent, strict=True):
        ratio = user.energy * np.vdot(symbols, symbols).real / np.vdot(noise, noise).real
        assert frame.air.received_snr_db == pytest.approx(10 * np.log10(ratio), abs=1e-4)
        assert frame.air.h_abs2 == pytest.approx(abs(user.h) ** 2)
    assert (two.which(0, 0), two.which(1, 0)) == ("leased", "leased")
    two.say("back", b"r", result(number(0, 0), "cam1"))
    assert (two.which(0, 0), two.which(1, 0)) == (None, "leased")
    # The other RESULT is lost with its receiver: the next one has both frames again.
    two.rx(b"r2", "rx2", slots=4)
    two.boxes.clear()
    two.later(8, *(("front", tx) for tx in TX), ("back", b"r2"))
    (again,) = only(m.Pair, two.hear(b"r2"))
    assert again.first.frame_id == pair.first.frame_id and two.which(1, 0) == "leased"
    two.say("back", b"r2", result(number(1, 0), "cam2", "rx2"))
    assert not two.broker.entries and not two.broker._ids and not two.broker._pairs  # type: ignore[attr-defined]


def test_a_channel_that_was_started_again_makes_the_same_of_both(two: Two) -> None:
    before = two.pair_at_rx()
    other = Two()
    other.enter(1, 0)  # in another order, and with another word of each
    other.partners = list(two.partners)
    other.rx(slots=4)
    other.boxes.clear()
    after = other.pair_at_rx()
    strip = {"came_at_s": 0.0, "queue_s": 0.0}
    for one_, two_ in ((before[0].first, after[0].first), (before[0].second, after[0].second)):
        assert replace(one_, air=replace(one_.air, **strip)) == replace(
            two_, air=replace(two_.air, **strip)
        )
    assert before[1] == after[1]


def test_behind_the_last_frame_of_one_those_of_the_other_go_alone() -> None:
    two = Two((1, 3))
    two.enter()
    two.rx(slots=4)
    two.boxes.clear()
    assert not two.wants(1, 0) and not two.wants(1, 2)  # nobody has said how many cam1 has
    two.wants(0, 0)
    assert {two.which(1, index) for index in (0, 2)} == {"granted"}
    two.hear(TX[1])
    alone = one(two.wants(1, 1))
    assert isinstance(alone, m.Grant) and alone.partner is None and alone.snr_db == 10.0
    two.boxes.clear()
    two.sends(1, 2)
    (arrival,) = only(m.Arrival, two.hear(b"r"))
    assert arrival.uses == K and arrival.air.tx == "cam2"
    # What cam2 has kept is enough for a channel that has never heard of cam1.
    later = Two((1, 3))
    later.enter(1)
    later.partners[1] = m.Partner(run="run0", frames=1)
    assert isinstance(one(later.wants(1, 1)), m.Grant) and not later.wants(1, 0)


def test_a_half_is_gone_with_its_transmitter_and_comes_again(two: Two) -> None:
    two.wants(0, 0)
    two.wants(1, 0)
    two.sends(0, 0)
    two.later(8, ("front", TX[1]), ("back", b"r"))
    assert (two.which(0, 0), two.which(1, 0)) == (None, "granted")
    two.boxes.clear()
    # The grant of the other one holds for nobody: it waits again, and both are granted anew.
    assert not two.wants(1, 0) and two.which(1, 0) == "waiting"
    two.say_hello(0)
    assert len(only(m.Grant, two.wants(0, 0))) == 1 == len(only(m.Grant, two.hear(TX[1])))


def test_a_frame_whose_grant_is_older_than_the_other_one_is_still_one_of_two(two: Two) -> None:
    """The other one's transmitter is gone when it comes: it must not be sent alone."""
    two.wants(0, 0)
    two.wants(1, 0)
    here: list[tuple[Side, bytes]] = [("front", TX[1]), ("back", b"r")]
    two.later(10, *here)
    two.wants(1, 0)  # its grant is younger now
    two.later(8, *here)
    assert (two.which(0, 0), two.which(1, 0)) == (None, "granted")
    two.sends(1, 0)
    assert two.which(1, 0) == "half"
    two.boxes.clear()
    two.say_hello(0)
    two.wants(0, 0)
    two.sends(0, 0)
    assert len(only(m.Pair, two.hear(b"r"))) == 1


def test_what_waits_is_bounded_and_the_last_gives_way() -> None:
    two = Two(queue_frames=2, client_frames=1)
    two.enter()
    for index in (3, 7, 6, 5):
        assert not two.wants(0, index)
    nack(two.wants(0, 8), "busy")
    assert not two.wants(0, 1) and two.which(0, 7) is None
    assert [two.which(0, index) for index in (1, 3, 5, 6)] == ["waiting"] * 4
    # The first of them is granted with its other one; a half of a later place gives way.
    two.wants(1, 3)
    two.sends(0, 3)
    assert (two.which(0, 3), two.which(1, 3)) == ("half", "granted")
    two.later(16, *(("front", tx) for tx in TX))  # cam2 does not send it
    assert (two.which(0, 3), two.which(1, 3)) == ("half", None)
    two.wants(0, 1)
    two.boxes.clear()
    assert isinstance(one(two.wants(1, 1)), m.Grant)
    assert two.which(0, 3) is None and two.which(0, 1) == "granted"


POINT = request(0).point


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"place": None}, ('channel.superposed=["cam1", "cam2"]',)),
        ({"place": place(0, 0)}, ("in this order",)),
        ({"place": place(1, 9)}, ("frame 9 of 9",)),
        ({"rounds": 2}, ("feedback",)),
        ({"point": replace(POINT, channel="mimo")}, ("awgn, rayleigh or rician",)),
        ({"point": replace(POINT, snr_db=3.0)}, ("rayleigh@3.0dB@1/384", "same kind, SNR")),
        ({"place": place(1, 0, partner=m.Partner(run="run0", frames=8))}, ("begin both anew",)),
        ({"place": place(1, 0, partner=m.Partner(run="old", frames=9))}, ("begin both anew",)),
        ({"frame_id": request(0).frame_id}, ("--set run=NAME",)),
    ],
)  # fmt: skip
def test_what_cannot_be_one_of_two_is_turned_away(
    two: Two, fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    two.wants(0, 0)
    reject(two.wants(1, 0, **fields), "settings", *words)
    assert two.which(0, 0) == "waiting" and two.which(1, 0) is None
    nack(two.wants(1, 0), "say-hello")


def test_others_are_turned_away_at_the_door(two: Two) -> None:
    reject(two.tx(b"3", "cam3", run="run3"), "settings", "cam3", "neither")
    reject(two.tx(b"4", "cam1", run="another"), "settings", "another run")
    plain = World()
    plain.tx()
    nack(plain.ask(0, place=place(0, 0)), "unsupported")


def test_a_codec_without_a_fixed_number_of_symbols_is_refused(two: Two) -> None:
    two.wants(0, 0, k=K + 1)
    two.wants(1, 0)
    two.hear(TX[0])
    nack(two.sends(0, 0), "unsupported")
    two.wants(1, 1)
    two.wants(0, 1)
    two.hear(TX[1])
    nack(two.put(number(1, 1), TX[1], side=b"more"), "unsupported")
