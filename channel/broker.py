"""The channel's protocol logic, without sockets: messages and times in, messages out.

State is soft: whatever is here may be lost with the process, and tx asks again. A frame goes

    REQUEST -> waiting -> granted -> (FRAME) queued -> leased -> (RESULT) remembered -> (CONFIRM)

and falls back a step when a grant, a lease or a receiver runs out. A frame of several rounds is
``returning`` after each but the last, until it has left the air; then it is granted again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from channel.airtime import Air
from channel.frames import HELD, Entry, arrival_of, check_request, checked, grant_of
from channel.greeter import Greeter, Send
from channel.holdings import Holdings
from channel.homes import Homes
from channel.medium import Medium
from channel.overruled import Overruled
from channel.peers import Peer, Side, remember
from channel.quotas import Quota
from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.keys import PublicKey
from simulator.link.payloads import check_pictures
from simulator.settings import ChannelSettings, settings_hash


class Broker(Holdings):
    """Decides what to send; ``send`` returns False where a peer cannot be reached now. ``medium``:
    what frames go through, the emulated air of the settings if none is given."""

    def __init__(
        self, settings: ChannelSettings, epoch: str, send: Send, medium: Medium | None = None
    ) -> None:
        super().__init__(settings)
        self.epoch = epoch
        self.medium = medium or Medium(settings)
        # The values of a trace change results, not the name of its file.
        fields = {**settings.result_changing(), "snr_trace": self.medium.trace}
        self.hash = settings_hash(fields)
        self.air = Air(settings.symbol_rate_hz, settings.guard_s, settings.airtime == "sleep")
        self._send, self._overruled = send, Overruled(settings)
        self.peers, self.homes = self.guests.doors, Homes(self.guests)
        self.greeter = Greeter(settings, epoch, self.hash, self.guests, send)
        self.remembered: OrderedDict[bytes, m.Result] = OrderedDict()
        self.refused: dict[str, int] = {}

    # -- input ---------------------------------------------------------------------------

    def receive(
        self,
        side: Side,
        identity: bytes,
        raw: list[Any],
        now: float,
        holder: PublicKey | None = None,
    ) -> None:
        """One message from a peer. Bad ones are counted and refused with a code.

        ``holder``: whose key its connection has; None where the doors have none.
        """
        frame_id = None
        try:
            message, parts = m.decode(raw)
            frame_id = getattr(message, "frame_id", None)
            self._handle(side, identity, message, tuple(parts), now, holder)
        except m.WireError as error:
            self._refuse(side, identity, error, frame_id)

    def tick(self, now: float) -> None:
        """Expire grants, leases and silent peers; dispatch frames that have left the air."""
        for side, peers in self.peers.items():
            for peer in [p for p in peers.values() if now - p.last_seen > c.SILENCE_S]:
                self._forget_peer(side, peer)
        for frame_id, entry in list(self.entries.items()):
            if entry.state == "queued":
                # Nobody might ever take it: it must not hold its place for a tx that is gone.
                if not self.guests.named("front", entry.tx):
                    self.drop(frame_id)
            elif now > entry.until:
                if entry.state == "leased":
                    self._requeue(frame_id, entry)
                else:
                    self.drop(frame_id)
        self.quotas.forget_idle(now)
        self._admit(now)
        self._return(now)
        self._dispatch(now)

    def recheck(self, holder: Callable[[Side, str], PublicKey | None]) -> None:
        """Show out every peer whose key ``holder`` (of a door's key) no longer finds."""
        for side, peers in self.peers.items():
            for peer in list(peers.values()):
                if peer.holder and holder(side, peer.holder.public) != peer.holder:
                    self.count("revoked")
                    reason = f"the key of {peer.holder.name!r} was revoked at the channel."
                    self._forget_peer(side, peer)
                    self._send(side, peer.identity, m.Reject(code="revoked", reason=reason), ())

    def next_event(self, now: float) -> float | None:
        """When the first frame leaves the air; None if none is on it."""
        if not self.air.waits:
            return None
        on_air = (*self.queue, *self.returning)
        times = (self.entries[frame_id].arrived_at for frame_id in on_air)
        return min((t for t in times if t > now), default=None)

    # -- handlers ------------------------------------------------------------------------

    def _handle(
        self,
        side: Side,
        identity: bytes,
        message: m.Message,
        parts: tuple[Any, ...],
        now: float,
        holder: PublicKey | None,
    ) -> None:
        if isinstance(message, m.Hello):
            self._hello(side, identity, message, now, holder)
            return
        peer = self.peers[side].get(identity)
        # An identity that its client chose may have been another one's before.
        if peer is None or peer.holder != holder:
            raise m.WireError("say-hello", "say HELLO first")
        peer.last_seen = now
        if isinstance(message, m.Heartbeat):
            self._heartbeat(side, peer, message, now)
        elif side == "front" and isinstance(message, m.Request):
            self._request(peer, message, now)
        elif side == "front" and isinstance(message, m.Frame):
            self._frame(peer, message, parts, now)
        elif side == "front" and isinstance(message, m.Confirm):
            self._confirm(message)
        elif side == "back" and isinstance(message, m.Ready):
            peer.slots, peer.affinity = message.slots, message.affinity
            self._dispatch(now)
        elif side == "back" and isinstance(message, m.Stage):
            check_pictures(parts)
            self._to_tx(message.tx, message, parts)
        elif side == "back" and isinstance(message, m.Result):
            check_pictures(parts)
            self._result(peer, message, parts, now)
        elif isinstance(message, m.Nack):  # never answered by another
            if side == "back":
                self._failed(peer, message, now)
        else:
            raise m.WireError("bad-message", f"{message.kind} does not come from this side")

    def _hello(
        self, side: Side, identity: bytes, hello: m.Hello, now: float, holder: PublicKey | None
    ) -> None:
        unconfirmed = {entry.tx for entry in self.entries.values()}
        unconfirmed |= {result.tx for result in self.remembered.values()}
        refusal = self.guests.objection(side, identity, hello, holder, unconfirmed)
        if refusal:
            self.count(refusal.code)
            self.greeter.refuse(side, identity, refusal)
            return
        for other in self.guests.replace(side, identity, hello):
            self._forget_peer(side, other)
        self.greeter.greet(side, self.guests.enter(side, identity, hello, now, holder))

    def _heartbeat(self, side: Side, peer: Peer, beat: m.Heartbeat, now: float) -> None:
        for frame_id in beat.running:
            entry = self.entries.get(frame_id)
            if entry and entry.state == "leased" and entry.receiver == peer.identity:
                entry.until = now + c.LEASE_S
        answer = m.Heartbeat(times=[*beat.times[:1], now, now], epoch=self.epoch)
        self._send(side, peer.identity, answer, ())

    def _request(self, peer: Peer, request: m.Request, now: float) -> None:
        frame_id = request.frame_id
        done = self.remembered.get(frame_id)
        if done is not None:
            self._send("front", peer.identity, done, (b"", b""))
            return
        check_request(request, self.medium, bool(self.settings.superposed))
        self._overruled.see(request.point)
        entry = self.entries.get(frame_id)
        if entry is None:
            if len(self.waiting) >= self.settings.queue_frames * 4:
                raise m.WireError("busy", "the channel's queues are full; ask again later")
            if not self.quotas.may_wait(peer.hello.name, now):
                raise m.WireError("quota", "too many frames of this tx wait; ask again later")
            entry = Entry(request, peer.hello.name, until=now + c.WAIT_S)
            self.entries[frame_id] = entry
            self.waiting[frame_id] = None
            self.quotas.wait(entry.tx, now)
            self._admit(now)
        elif entry.state in HELD:
            self._send("front", peer.identity, m.Held(frame_id=frame_id), ())
        else:
            # Who asks last is answered: a tx may have come back under another name.
            self.hold(entry, -entry.nbytes)
            entry.forget_rounds()
            self.returning.pop(frame_id, None)
            self.give_to(entry, peer.hello.name, now)
            entry.request, entry.until = request, now + c.WAIT_S
            if entry.state in ("granted", "returning"):
                entry.take("asked again")
                self._grant(frame_id, entry, now)

    def _admit(self, now: float) -> None:
        """Grant waiting frames in order while there is room for their symbols, but for those
        of a tx that is over its quota.
        """
        over: dict[str, Quota] = {}
        for frame_id in list(self.waiting) if self.has_room() else ():
            entry = self.entries[frame_id]
            if self.is_held_back(entry, over, now):
                continue
            self.admit(frame_id, entry)
            self._grant(frame_id, entry, now)
            if not self.has_room():
                return

    def _grant(self, frame_id: bytes, entry: Entry, now: float) -> None:
        entry.until = now + c.GRANT_S
        grant, parts = grant_of(frame_id, entry, self.medium, self.hash)
        self._to_tx(entry.tx, grant, parts)

    def _frame(self, peer: Peer, frame: m.Frame, parts: tuple[Any, ...], now: float) -> None:
        frame_id = frame.frame_id
        entry = self.entries.get(frame_id)
        if entry is not None and entry.state in HELD:
            self._send("front", peer.identity, m.Held(frame_id=frame_id), ())
            return
        if frame.settings != self.hash:
            raise m.WireError("stale", "the channel's settings have changed; ask again")
        if entry is None or entry.state != "granted" or frame.number != len(entry.rounds):
            raise m.WireError("no-grant", "no grant for this frame; ask again")
        try:
            self._accept(peer, frame, parts, entry, now)
        except m.WireError:
            self.drop(frame_id)
            raise
        if entry.state == "returning":
            self.returning[frame_id] = None
            self._return(now)
        elif entry.state == "queued":
            self.queue[frame_id] = None
            self._dispatch(now)

    def _return(self, now: float) -> None:
        """Grant the next round of frames that have left the air."""
        for frame_id in list(self.returning):
            entry = self.entries[frame_id]
            if entry.arrived_at <= now:
                del self.returning[frame_id]
                entry.take("returned")
                self._grant(frame_id, entry, now)

    def _accept(
        self, peer: Peer, frame: m.Frame, parts: tuple[Any, ...], entry: Entry, now: float
    ) -> None:
        """Check a FRAME and put it on the air. Raises ``WireError``."""
        sent = checked(frame, parts, entry, peer.hello.codec, self.medium)
        # What is kept of it is what arrives: of several antennas that is more than was sent.
        law = self.medium.law(frame.point)
        nbytes = 8 * sum(law.received(frame.k)) + sum(map(len, parts[1:]))
        if self.held_bytes and self.held_bytes + nbytes > self.settings.queue_bytes:
            raise m.WireError("busy", "the channel's queues are full; ask again later")
        key, point, number = frame.draw_key, frame.point, frame.number
        received = self.medium.transmit(key, point, frame.k, sent, number)
        side_uses = 0 if number else self.medium.side_uses(point, len(parts[1]))
        booked = self.air.book(law.uses(frame.k) + side_uses, now)
        if not number:
            self.give_to(entry, peer.hello.name, now)
        entry.keep(frame, received, parts[1:], booked, now)
        self.hold(entry, nbytes)
        if len(entry.rounds) < entry.request.rounds:
            entry.until = entry.arrived_at + c.GRANT_S
            entry.take("round accepted")
            return
        entry.arrival, entry.parts = arrival_of(entry, self.medium, self.settings)
        entry.rounds.clear()  # what is delivered again is in the parts
        entry.codec = frame.codec
        entry.take("accepted")

    def _dispatch(self, now: float) -> None:
        """Hand queued frames that have left the air to the receivers that ``homes`` names."""
        free = [p for p in self.peers["back"].values() if p.room > 0]
        for frame_id in list(self.queue) if free else ():
            entry = self.entries[frame_id]
            if entry.arrived_at > now or frame_id not in self.queue:
                continue
            for receiver in self.homes.order(entry.tx, free, entry.codec):
                if self._deliver(frame_id, entry, receiver, now):
                    del self.queue[frame_id]
                    break
                free.remove(receiver)  # cannot be reached now: the next one may
            free = [p for p in free if p.room > 0]
            if not free:
                return

    def _deliver(self, frame_id: bytes, entry: Entry, receiver: Peer, now: float) -> bool:
        assert entry.arrival is not None
        air = replace(entry.arrival.air, queue_s=max(0.0, now - entry.arrived_at))
        if not self._send("back", receiver.identity, replace(entry.arrival, air=air), entry.parts):
            return False
        self._lease(frame_id, entry, receiver, now)
        return True

    def _lease(self, frame_id: bytes, entry: Entry, receiver: Peer, now: float) -> None:
        """A receiver has been sent a frame."""
        entry.take("delivered")
        entry.receiver = receiver.identity
        entry.until = now + c.LEASE_S
        receiver.leases.add(frame_id)
        self.homes.took(entry.tx, receiver)

    def _result(self, peer: Peer, result: m.Result, pictures: tuple[Any, ...], now: float) -> None:
        self.guests.serves(peer.hello.name, result.tx)
        if result.frame_id in self.entries:
            self.drop(result.frame_id)
        # Pictures are not kept here: its receiver offers them again.
        kept = replace(result, complete=result.complete and not any(map(len, pictures)))
        remember(self.remembered, result.frame_id, kept, c.REMEMBERED_RESULTS)
        self._to_tx(result.tx, result, pictures)
        self._admit(now)
        self._dispatch(now)

    def _confirm(self, confirm: m.Confirm) -> None:
        self.remembered.pop(confirm.frame_id, None)
        for peer in self.guests.named("back", confirm.receiver):
            self._send("back", peer.identity, confirm, ())

    def _failed(self, peer: Peer, nack: m.Nack, now: float) -> None:
        """A receiver could not process a frame: tx counts that and may ask again."""
        if nack.frame_id is None:
            return
        entry = self.entries.get(nack.frame_id)
        if entry is None or entry.receiver != peer.identity:
            return
        self.drop(nack.frame_id)
        self._to_tx(entry.tx, nack)
        self._admit(now)
        self._dispatch(now)

    # -- state ---------------------------------------------------------------------------

    def _requeue(self, frame_id: bytes, entry: Entry) -> None:
        """A lease ran out or its receiver is gone: first in the queue again."""
        self.release(frame_id, entry)
        entry.lost += 1
        limit = self.settings.max_lost_receivers
        if limit and entry.lost >= limit:
            self.drop(frame_id)
            reason = f"{entry.lost} receivers were lost while they held this frame"
            self._to_tx(entry.tx, m.Nack(code="receivers-lost", reason=reason, frame_id=frame_id))
            return
        entry.take("receiver lost")
        self.queue[frame_id] = None
        self.queue.move_to_end(frame_id, last=False)

    def _forget_peer(self, side: Side, peer: Peer) -> None:
        self.guests.leave(side, peer)
        if side == "back":
            self.greeter.announce_receivers()
        leased = [fid for fid in peer.leases if fid in self.entries]
        # The newest first: each goes to the front of the queue.
        for frame_id in sorted(leased, key=lambda fid: self.entries[fid].came_at, reverse=True):
            if (entry := self.entries[frame_id]).receiver == peer.identity:
                self._requeue(frame_id, entry)

    # -- output --------------------------------------------------------------------------

    def _to_tx(self, name: str, message: m.Message, parts: tuple[Any, ...] = ()) -> None:
        """To the transmitter of that name; if it is away it will ask when it is back."""
        for peer in self.guests.named("front", name):
            self._send("front", peer.identity, message, parts)

    def _refuse(
        self, side: Side, identity: bytes, error: m.WireError, frame_id: bytes | None = None
    ) -> None:
        self.count(error.code)
        nack = m.Nack(code=error.code, reason=error.reason, frame_id=frame_id)
        self._send(side, identity, nack, ())

    def count(self, code: str) -> None:
        """One refusal more of that kind."""
        self.refused[code] = self.refused.get(code, 0) + 1
