"""The channel process: two ROUTER doors around a broker."""

from __future__ import annotations

import logging
import secrets
from typing import Any

import zmq

from channel.broker import Broker
from channel.peers import Side
from simulator.errors import AddressError
from simulator.link import messages as m
from simulator.link import sockets
from simulator.link.clock import Clock, monotonic
from simulator.process import POLL_S, Stopper, check_bind
from simulator.settings import ChannelSettings

TICK_S = 0.1
BURST = 64  # messages taken from one door before the other gets its turn

log = logging.getLogger("channel")


class ChannelService:
    """Binds both doors at construction. Raises ``AddressError``."""

    def __init__(self, settings: ChannelSettings, clock: Clock = monotonic) -> None:
        for endpoint in (settings.front, settings.back):
            check_bind(endpoint, settings.insecure)
        self._clock = clock
        self._context = zmq.Context()
        self._doors: dict[Side, zmq.Socket[bytes]] = {}
        try:
            self._doors["front"] = sockets.door(self._context, settings.front)
            self._doors["back"] = sockets.door(self._context, settings.back)
        except sockets.EndpointError as error:
            self.close()
            raise AddressError(
                f"the channel cannot listen: {error}; stop the other process or choose "
                f"another address with --set channel.front=... and channel.back=..."
            ) from None
        self.broker = Broker(settings, secrets.token_hex(8), self._send)

    def _send(
        self, side: Side, identity: bytes, message: m.Message, parts: tuple[Any, ...]
    ) -> bool:
        return sockets.send(self._doors[side], [identity, *m.encode(message, parts)])

    def run(self, stop: Stopper) -> None:
        """Serve until ``stop``."""
        poller = zmq.Poller()
        for socket in self._doors.values():
            poller.register(socket, zmq.POLLIN)
        ticked = self._clock()
        log.info("listening, settings %s", self.broker.hash)
        while not stop:
            now = self._clock()
            soon = self.broker.next_event(now)
            wait = min(POLL_S, TICK_S) if soon is None else min(TICK_S, max(0.0, soon - now))
            poller.poll(max(1, int(wait * 1000)) if wait else 0)
            for side in self._doors:
                self._drain(side)
            now = self._clock()
            if now - ticked > TICK_S or (soon is not None and now >= soon):
                self.broker.tick(now)
                ticked = now
        log.info("stopped; refused messages: %s", self.broker.refused or "none")

    def _drain(self, side: Side) -> None:
        for _ in range(BURST):
            raw = sockets.receive(self._doors[side])
            if raw is None:
                return
            self.broker.receive(side, raw[0], raw[1:], self._clock())

    def close(self) -> None:
        for socket in self._doors.values():
            socket.close(0)
        self._context.term()
