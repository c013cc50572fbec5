"""Frames of two users on the same channel uses: the broker that pairs and superposes them.

    REQUEST of user 1, REQUEST of user 2 -> both are granted -> FRAME, FRAME -> one PAIR to rx

Frames are paired by their places in the manifests of their transmitters, first with first. One
whose other has not been asked for waits for its grant, and one whose other has not come waits as
``half``; no clock ends either. Behind the last frame of one user those of the other are sent alone,
as on any channel: each transmitter keeps how many frames the other one has, which a GRANT says
before anything is sent, so that a channel that was started again learns it from either.

State is as soft as the broker's: what is lost is asked for again, and pairs, gains and noise are
functions of the two manifests alone.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from channel.broker import Broker
from channel.frames import Entry, arrival_of, checked
from channel.greeter import Send
from channel.medium import Medium
from channel.peers import Peer, Side
from channel.quotas import Quota
from channel.superposed import gain_of, receptions_of, told_of
from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.keys import PublicKey
from simulator.phy.flat import Flat
from simulator.phy.superposition import charges, states_of, users_of
from simulator.settings import ChannelSettings

VARIABLE = (
    "this codec sends side information, or as many symbols as an image needs; superposed frames "
    "have a fixed number of symbols and nothing beside them"
)


@dataclass(frozen=True, eq=False)
class Half:
    """A FRAME that has come before its other one: (K,) symbols, and the parts beside them."""

    frame: m.Frame
    sent: np.ndarray
    beside: tuple[Any, ...]
    came_at: float


class PairingBroker(Broker):
    """For a channel with ``superposed``; a user is 0 or 1, its place there."""

    def __init__(
        self, settings: ChannelSettings, epoch: str, send: Send, medium: Medium | None = None
    ) -> None:
        super().__init__(settings, epoch, send, medium)
        self._names = settings.superposed
        self._said: dict[int, tuple[m.Partner, m.Place]] = {}  # by user, what it has said last
        self._ids: dict[tuple[int, int], bytes] = {}  # frames that are here, by user and place
        self._paired: set[bytes] = set()  # those that were granted beside another
        self._halves: dict[bytes, Half] = {}
        self._pairs: dict[bytes, m.Pair] = {}  # those that have left the air

    def drop(self, frame_id: bytes) -> None:
        entry = self.entries[frame_id]
        here = self._place_of(entry)
        if self._ids.get(here) == frame_id:
            del self._ids[here]
        self._paired.discard(frame_id)
        self._halves.pop(frame_id, None)
        self._pairs.pop(frame_id, None)
        super().drop(frame_id)

    def tick(self, now: float) -> None:
        for frame_id in list(self._halves):
            # As what is queued: it must not hold its place for a tx that is gone.
            if not self.guests.named("front", self.entries[frame_id].tx):
                self.drop(frame_id)
        super().tick(now)

    # -- who is who --------------------------------------------------------------------------

    def _user(self, name: str) -> int:
        return self._names.index(name)

    def _place_of(self, entry: Entry) -> tuple[int, int]:
        assert entry.request.place is not None
        return self._user(entry.tx), entry.request.place.index

    def _other(self, entry: Entry) -> Entry | None:
        """The frame that this one is paired with, if it is here."""
        user, index = self._place_of(entry)
        frame_id = self._ids.get((1 - user, index))
        return self.entries.get(frame_id) if frame_id else None

    def _word(self, user: int) -> tuple[m.Partner, m.Place] | None:
        """What a user that is here has said last."""
        said = self._said.get(user)
        here = self.guests.named("front", self._names[user])
        return said if said and any(peer.hello.run == said[0].run for peer in here) else None

    def _is_alone(self, entry: Entry) -> bool:
        """Whether the other user has no frame at this place: by what this one's transmitter was
        told once, or by the other one's own word."""
        place, word = entry.request.place, self._word(1 - self._user(entry.tx))
        assert place is not None
        told = place.partner or (word[0] if word else None)
        return told is not None and place.index >= told.frames

    # -- who may speak -----------------------------------------------------------------------

    def _hello(
        self, side: Side, identity: bytes, hello: m.Hello, now: float, holder: PublicKey | None
    ) -> None:
        reason = self._strange(hello) if side == "front" else ""
        if reason:
            self._reject(identity, reason)
        else:
            super()._hello(side, identity, hello, now, holder)

    def _strange(self, hello: m.Hello) -> str:
        one, other = self._names
        if hello.name not in self._names:
            return (
                f"this channel superposes tx {one!r} and {other!r}, and tx {hello.name!r} is "
                f"neither; give it one of these names (tx.name), or a channel of its own."
            )
        if any(peer.hello.run != hello.run for peer in self.guests.named("front", hello.name)):
            return f"another run of tx {hello.name!r} goes on here; wait until it has ended."
        return ""

    def _reject(self, identity: bytes, reason: str) -> None:
        self.count("settings")
        self._send("front", identity, m.Reject(code="settings", reason=reason), ())

    def _objection(self, peer: Peer, request: m.Request) -> str:
        """Why this REQUEST cannot be one of two users'; empty where it can."""
        place, name, names = request.place, peer.hello.name, self._names
        user = self._user(name)
        other, word = names[1 - user], self._word(1 - user)
        if place is None or place.user != user:
            told = json.dumps(list(names), allow_nan=False)
            return (
                f"this channel superposes {names[0]} and {names[1]}, in this order; start tx with "
                f"--set 'channel.superposed={told}'."
            )
        if place.index >= place.frames:
            return f"frame {place.index} of {place.frames} of tx {name!r} cannot be."
        if request.point.snr_db is None or not isinstance(self.medium.law(request.point), Flat):
            return "superposed frames have one gain and one SNR: awgn, rayleigh or rician."
        if request.rounds > 1:
            return "a codec with feedback cannot share its channel uses."
        mine = m.Partner(run=peer.hello.run, frames=place.frames)
        if (word and (place.partner or word[0]) != word[0]) or (
            word and (word[1].partner or mine) != mine
        ):
            return (
                f"tx {name!r} and tx {other!r} are not of one run of both, with as many frames as "
                f"each has told the other; go on with the runs that began together, or begin both "
                f"anew with other folders."
            )
        entry = self.entries.get(request.frame_id)
        if entry is not None and entry.tx == name and self._place_of(entry)[1] != place.index:
            return f"tx {name!r} gives frame {request.frame_id.hex()} two places."
        if entry is not None and entry.tx != name:
            return (
                f"tx {name!r} and tx {other!r} have an image and the name of their run in common; "
                f"begin one anew with another name: --set run=NAME."
            )
        beside = self.entries.get(self._ids.get((1 - user, place.index), b""))
        if beside is not None and beside.request.point != request.point:
            return (
                f"tx {name!r} sends at {request.point.name}, and tx {other!r} at "
                f"{beside.request.point.name}; start both with the same kind, SNR and ratio."
            )
        return ""

    # -- from REQUEST to PAIR ----------------------------------------------------------------

    def _request(self, peer: Peer, request: m.Request, now: float) -> None:
        objection, frame_id = self._objection(peer, request), request.frame_id
        if objection or request.place is None:
            self._forget_peer("front", peer)
            self._reject(peer.identity, objection)
            return
        user, place = self._user(peer.hello.name), request.place
        self._said[user] = m.Partner(run=peer.hello.run, frames=place.frames), place
        before = self.entries.get(self._ids.get((user, place.index), b""))
        if before is not None and before.request.frame_id != frame_id:
            self.drop(before.request.frame_id)  # of a run that has ended
        entry = self.entries.get(frame_id)
        paired = entry is not None and entry.state == "granted" and frame_id in self._paired
        if entry is not None and paired and self._other(entry) is None:
            self.drop(frame_id)  # so that it waits for the other one again
        if frame_id not in self.entries and frame_id not in self.remembered:
            self._make_room(user, place.index)
        self._ids[user, place.index] = frame_id
        try:
            super()._request(peer, request, now)
        finally:
            if frame_id not in self.entries:
                self._ids.pop((user, place.index), None)

    def _make_room(self, user: int, index: int) -> None:
        """Raises ``WireError`` where as many frames of a user wait as may. The last ones give way:
        if each user had others waiting, they would wait for ever."""
        s = self.settings
        most = min(2 * s.queue_frames, 4 * (s.client_frames or s.queue_frames))
        here = (self._place_of(self.entries[frame_id]) for frame_id in self.waiting)
        waiting = [place for each, place in here if each == user]
        if len(waiting) < most:
            return
        if max(waiting) < index:
            raise m.WireError("busy", "too many frames wait for the other user's; ask again later")
        self.drop(self._ids[user, max(waiting)])

    def _admit(self, now: float) -> None:
        """Grant pairs both of whose frames are asked for, and frames without another."""
        over: dict[str, Quota] = {}
        for frame_id in list(self.waiting):
            if frame_id not in self.waiting:
                continue  # granted with its other one
            group = self._group(self.entries[frame_id])
            if group and not self._has_room_for(group):
                return
            if not any(self.is_held_back(entry, over, now) for entry in group):
                for entry in group:
                    self.admit(entry.request.frame_id, entry)
                for entry in group:
                    self._grant(entry.request.frame_id, entry, now)

    def _group(self, entry: Entry) -> list[Entry]:
        """What is to be granted at once with a frame that waits; nothing where it is too early."""
        if self._is_alone(entry):
            return [entry]
        other = self._other(entry)
        if other is None or other.state in ("queued", "leased"):
            return []  # where that one is under way already, so is this one, and its result comes
        return [entry, other] if other.state == "waiting" else [entry]

    def _has_room_for(self, group: list[Entry]) -> bool:
        """Halves of later places give way: their others may come behind this one."""
        _, index = self._place_of(group[0])
        lone = [
            (self._place_of(entry)[1], frame_id)
            for frame_id in self._halves
            if self._other(entry := self.entries[frame_id]) is None
        ]
        while not self.has_room(len(group)) and lone and max(lone)[0] > index:
            self.drop(max(lone)[1])
            lone.remove(max(lone))
        return self.has_room(len(group))

    def _grant(self, frame_id: bytes, entry: Entry, now: float) -> None:
        other = self._other(entry)
        if other is None:
            super()._grant(frame_id, entry, now)
            return
        self._paired.add(frame_id)
        entry.until = now + c.GRANT_S
        user, point = self._user(entry.tx), entry.request.point
        both = (entry, other) if user == 0 else (other, entry)
        ks = both[0].request.k, both[1].request.k
        given_db = self.medium.given_snr_db(point)
        state = states_of(self.settings.share, self._told(both), ks, given_db)[user]
        grant = m.Grant(
            frame_id=frame_id,
            snr_db=state.snr_db,
            settings=self.hash,
            partner=self._said[1 - user][0],
        )
        self._to_tx(entry.tx, grant, (state.h.data, b""))

    def _told(self, both: tuple[Entry, Entry]) -> tuple[complex, complex]:
        one, other = (
            told_of(self.medium, each.request.draw_key, each.request.point, each.request.k)
            for each in both
        )
        return one, other

    def _frame(self, peer: Peer, frame: m.Frame, parts: tuple[Any, ...], now: float) -> None:
        entry = self.entries.get(frame.frame_id)
        if entry is not None and entry.tx != peer.hello.name:
            raise m.WireError("no-grant", f"this frame is of tx {entry.tx!r}")
        super()._frame(peer, frame, parts, now)

    def _accept(
        self, peer: Peer, frame: m.Frame, parts: tuple[Any, ...], entry: Entry, now: float
    ) -> None:
        frame_id, other = frame.frame_id, self._other(entry)
        if frame_id not in self._paired:
            super()._accept(peer, frame, parts, entry, now)
            return
        sent = checked(frame, parts, entry, peer.hello.codec, self.medium)
        if frame.k != entry.request.k or len(parts[1]):
            raise m.WireError("unsupported", VARIABLE)
        first = self._halves.get(other.request.frame_id) if other else None
        if first and first.frame.codec != frame.codec:
            reason = f"codecs {first.frame.codec} and {frame.codec}: superposed users have the same"
            raise m.WireError("unsupported", reason)
        nbytes = 8 * frame.k + len(parts[2])
        # The second of two is taken, or the first would hold its place in vain.
        if not first and self.held_bytes and self.held_bytes + nbytes > self.settings.queue_bytes:
            raise m.WireError("busy", "the channel's queues are full; ask again later")
        self._halves[frame_id] = Half(frame, sent, parts[1:], now)
        self.hold(entry, nbytes)
        entry.codec, entry.until = frame.codec, math.inf
        entry.take("half accepted")
        if first and other:
            self._join((entry, other) if self._user(entry.tx) == 0 else (other, entry), now)

    def _join(self, both: tuple[Entry, Entry], now: float) -> None:
        """Both frames on the air at once: from here on they are received together."""
        one, other = (self._halves.pop(each.request.frame_id) for each in both)
        ks = one.frame.k, other.frame.k
        medium, settings, point = self.medium, self.settings, one.frame.point
        gains = [gain_of(medium, each.frame.draw_key, point) for each in (one, other)]
        users = users_of(settings.share, (gains[0], gains[1]), ks)
        sent = one.sent, other.sent
        receptions = receptions_of(medium, users, one.frame.draw_key, point, sent)
        booked = self.air.book(max(ks), now)
        arrivals: list[m.Arrival] = []
        for entry, half, received, uses in zip(
            both, (one, other), receptions, charges(ks), strict=True
        ):
            entry.keep(half.frame, received, half.beside, booked, now)
            entry.came_at = half.came_at
            arrivals.append(replace(arrival_of(entry, medium, settings)[0], uses=uses))
            entry.rounds.clear()
            entry.take("other half came")
        h = np.array([*gains, *self._told(both)], np.complex64)
        parts = (receptions[0].symbols.data, h.data, one.beside[1], other.beside[1])
        version: Any = settings.draw_version
        pair = m.Pair(first=arrivals[0], second=arrivals[1], share=settings.share, draws=version)
        for entry in both:
            frame_id = entry.request.frame_id
            entry.parts, self._pairs[frame_id], self.queue[frame_id] = parts, pair, None

    def _deliver(self, frame_id: bytes, entry: Entry, receiver: Peer, now: float) -> bool:
        pair = self._pairs.get(frame_id)
        if pair is None:
            return super()._deliver(frame_id, entry, receiver, now)
        left_at = entry.arrived_at - entry.observed_s  # when both were here
        queue_s = max(0.0, now - entry.arrived_at)

        def late(arrival: m.Arrival) -> m.Arrival:
            waited_s = queue_s + max(0.0, left_at - arrival.air.came_at_s)
            return replace(arrival, air=replace(arrival.air, queue_s=waited_s))

        message = replace(pair, first=late(pair.first), second=late(pair.second))
        if not self._send("back", receiver.identity, message, entry.parts):
            return False
        for each_id in (pair.first.frame_id, pair.second.frame_id):
            each = self.entries.get(each_id)
            if each is not None and each.state == "queued" and self._pairs.get(each_id) is pair:
                self._lease(each_id, each, receiver, now)
                if each_id != frame_id:
                    del self.queue[each_id]
        return True
