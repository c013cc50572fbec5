"""The channel process: two ROUTER doors around a broker, a gate where there are keys, and where it
is set a door for those who watch."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import zmq

from channel.broker import Broker
from channel.downlink import Downlink
from channel.gate import Gate
from channel.pairing import PairingBroker
from channel.peers import Side
from channel.radio import Media
from channel.watch_door import WatchDoor
from simulator.errors import AddressError
from simulator.link import messages as m
from simulator.link import sockets
from simulator.link import watching as w
from simulator.link.clock import Clock, monotonic
from simulator.link.traffic import size_of
from simulator.live import Live, Rate, rate_text
from simulator.logs import of_frame
from simulator.observe.observer import Observer
from simulator.observe.seen import Seen
from simulator.process import Stopper, check_bind
from simulator.settings import ChannelSettings

TICK_S = 0.1
SEED = 20_240_417  # of which messages the way back loses
BUSY_S = 0.2  # a door is left after so long, for the other one: a radio may take seconds a frame

log = logging.getLogger("channel")


def counts_text(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items()) or "none"


class ChannelService:
    """Binds its doors at construction. Raises ``AddressError`` and ``KeysError``."""

    def __init__(self, settings: ChannelSettings, clock: Clock = monotonic) -> None:
        for endpoint in filter(None, (settings.front, settings.back, settings.watch)):
            if check_bind(endpoint, bool(settings.keys), settings.insecure):
                log.warning("%s is open to its network, without encryption", endpoint)
        self._clock = clock
        self._passed_on, self._rate = 0, Rate()
        self._observer = Observer("channel", "channel", settings.observe, clock)
        self._context = zmq.Context()
        self._doors: dict[Side, zmq.Socket[bytes]] = {}
        self._downlink = Downlink(settings.downlink, self._to_tx, random.Random(SEED).random)
        self._gate: Gate | None = None
        self._media: Media | None = None
        self._watching: WatchDoor | None = None
        try:
            self._media = Media(settings, self._context)
            medium = self._media.medium
            kind = PairingBroker if settings.superposed else Broker
            self.broker = kind(settings, secrets.token_hex(8), self._send, medium)
            if settings.keys:
                self._gate = Gate(self._context, settings.keys, self.broker.count, clock)
            # Receivers first: what comes from tx may take the time of a radio.
            self._open("back", settings.back)
            self._open("front", settings.front)
            if settings.watch:
                self._watching = WatchDoor(
                    self._context, settings.watch, self.broker.epoch, self._gate,
                    self._seen_by, self.broker.count,
                )  # fmt: skip
            self._show()
        except sockets.EndpointError as error:
            self.close()
            raise AddressError(
                f"the channel cannot listen: {error}; stop the other process or choose "
                f"another address with --set channel.front=..., channel.back=... or "
                f"channel.watch=..."
            ) from None
        except BaseException:
            self.close()
            raise

    def _show(self) -> None:
        """What can be read from outside."""
        read, broker = self._observer.read, self.broker
        for queue, held in (
            ("waiting", broker.waiting),
            ("returning", broker.returning),
            ("queued", broker.queue),
        ):
            read("queue_frames", held.__len__, queue=queue)
        read("queue_frames", lambda: broker.admitted, queue="admitted")
        read("held_bytes", lambda: broker.held_bytes)
        read("transmitters_connected", lambda: len(broker.peers["front"]))
        read("receivers_connected", lambda: len(broker.peers["back"]))
        self._observer.counts("refused_messages", broker.refused, "code")

    def _open(self, side: Side, endpoint: str) -> None:
        lock = self._gate.lock(side) if self._gate else None
        self._doors[side] = sockets.door(self._context, endpoint, lock)

    def _send(
        self, side: Side, identity: bytes, message: m.Message, parts: tuple[Any, ...]
    ) -> bool:
        encoded = m.encode(message, parts)
        if side == "front":
            sent = self._downlink.send(message, [identity, *encoded], self._clock())
        else:
            sent = sockets.send(self._doors[side], [identity, *encoded])
        if sent and self._observer.traffic:
            self._observer.traffic.sent += size_of(encoded)
        if sent and self._watching:
            peer = self.broker.peers[side].get(identity)
            self._watching.sent(message, parts, peer.hello.name if peer else "")
        if sent and isinstance(message, m.Arrival):
            self._count_passed_on(message)
        elif sent and isinstance(message, m.Pair):
            self._count_passed_on(message.first)
            self._count_passed_on(message.second)
        return sent

    def _count_passed_on(self, arrival: m.Arrival) -> None:
        if self._observer:
            self._observe(arrival)
        self._passed_on += 1
        if log.isEnabledFor(logging.DEBUG):
            log.debug("passed on to a receiver", extra=of_frame(arrival.frame_id))

    def _to_tx(self, parts: Sequence[Any]) -> bool:
        return sockets.send(self._doors["front"], parts)

    def _observe(self, arrival: m.Arrival) -> None:
        air = arrival.air
        values = {
            "k": arrival.k,
            "channel_at_s": air.came_at_s,
            "airtime_modelled_s": air.airtime_modelled_s,
            "airtime_observed_s": air.airtime_observed_s,
            "channel_queue_s": air.queue_s,
        }
        self._observer.frame(Seen(arrival.frame_id, "passed_on", values, air.came_at_s))

    def status(self, now: float) -> str:
        """Who is here and what is held, in one line."""
        broker = self.broker
        senders, receivers = (len(broker.peers[side]) for side in ("front", "back"))
        return (
            f"{senders} tx, {receivers} rx; {self._passed_on} frames passed on, "
            f"{len(broker.waiting)} wait for a grant, {len(broker.queue)} queued"
            f"{rate_text(self._rate.per_s(self._passed_on, now))}"
        )

    def _seen_by(self, pages: int) -> w.Status:
        """What each page is answered; ``pages``: how many there are."""
        assert self._watching is not None
        broker = self.broker
        front, back = (list(broker.peers[side].values()) for side in ("front", "back"))
        return w.Status(
            passed_on=self._passed_on,
            states=dict(self._watching.watched.states),
            waiting=len(broker.waiting),
            admitted=broker.admitted,
            returning=len(broker.returning),
            queued=len(broker.queue),
            held_bytes=broker.held_bytes,
            refused=dict(broker.refused),
            tx=[peer.hello.name for peer in front[: w.MAX_NAMED]],
            tx_count=len(front),
            rx=[
                w.ReceiverNow(name=peer.hello.name, slots=peer.slots, holds=len(peer.leases))
                for peer in back[: w.MAX_NAMED]
            ],
            rx_count=len(back),
            pages=pages,
        )

    def run(self, stop: Stopper) -> None:
        """Serve until ``stop``."""
        poller = zmq.Poller()
        for socket in self._doors.values():
            poller.register(socket, zmq.POLLIN)
        if self._gate:
            poller.register(self._gate.zap.socket, zmq.POLLIN)
        ticked = self._clock()
        log.info("listening, settings %s", self.broker.hash)
        live = Live(log, ticked)
        while not stop:
            self._observer.turn()
            now = self._clock()
            if live.due(now):
                live.show(self.status(now), now)
            soon = self.broker.next_event(now)
            wanted = [at for at in (soon, self._downlink.next_at) if at is not None]
            wait = min(TICK_S, max(0.0, min(wanted) - now)) if wanted else TICK_S
            ready = dict(poller.poll(max(1, int(wait * 1000)) if wait else 0))
            if self._gate:
                self._watch_gate(self._gate)
            for side, door in self._doors.items():
                if door in ready:
                    self._drain(side)
            now = self._clock()
            self._downlink.arrive(now)
            if self._watching:
                self._watching.look(now)
            if now - ticked > TICK_S or (soon is not None and now >= soon):
                self.broker.tick(now)
                ticked = now
        live.close()
        log.info(
            "stopped; refused messages: %s; frames that waited for a quota: %s",
            counts_text(self.broker.refused), counts_text(self.broker.quotas.met),
        )  # fmt: skip

    def _watch_gate(self, gate: Gate) -> None:
        """Answer handshakes; show out whose key was revoked."""
        gate.zap.answer()
        if gate.changed():
            self.broker.recheck(gate.holder)

    def _drain(self, side: Side) -> None:
        door, until = self._doors[side], self._clock() + BUSY_S
        for _ in range(sockets.BURST):
            if self._clock() > until:
                return
            if self._gate:
                arrival = self._gate.receive(side, door)
                if arrival is None:
                    return
                raw, holder = arrival
                self._count(raw[1:])
                self.broker.receive(side, raw[0], raw[1:], self._clock(), holder)
            else:
                message = sockets.receive(door)
                if message is None:
                    return
                self._count(message[1:])
                self.broker.receive(side, message[0], message[1:], self._clock())

    def _count(self, received: list[bytes]) -> None:
        if self._observer.traffic:
            self._observer.traffic.received += size_of(received)

    def close(self) -> None:
        self._observer.close()
        for socket in self._doors.values():
            socket.close(0)
        if self._watching:
            self._watching.close()
        if self._gate:
            self._gate.close()
        if self._media:
            self._media.close()
        self._context.term()
