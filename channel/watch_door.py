"""The door for those who watch: a socket that the channel looks at now and then, and never waits
for.

It is not in the channel's poller: no page can wake the channel, and whatever comes, at most
``MOST`` messages are looked at in ``LOOK_S``. What a page does not take is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq

from channel.gate import Gate
from channel.onlookers import Onlookers, StatusOf
from channel.watched import Watched
from simulator.link import messages as m
from simulator.link import sockets
from simulator.link import watching as w

LOOK_S = 0.1
MOST = 32


class WatchDoor:
    """Raises ``EndpointError``. ``gate``: None where the channel has no keys."""

    def __init__(
        self,
        context: zmq.Context[Any],
        endpoint: str,
        epoch: str,
        gate: Gate | None,
        status: StatusOf,
        count: Callable[[str], None],
    ) -> None:
        self._gate = gate
        self._looked_at = -LOOK_S
        lock = gate.lock("watch") if gate else None
        self._socket = sockets.door(context, endpoint, lock, w.AT_THE_DOOR)
        self.watched = Watched()
        self.onlookers = Onlookers(epoch, self.watched, status, self._send, count)

    def sent(self, message: m.Message, parts: tuple[Any, ...], to: str) -> None:
        """The channel has sent this to one of its peers, whose name is ``to``."""
        self.watched.sent(message, parts, to)

    def look(self, now: float) -> None:
        """Answer those who ask; nothing where it has been done just now."""
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        self.onlookers.tick(now)
        for _ in range(MOST):
            raw = self._receive()
            if raw is None:
                return
            self.onlookers.receive(raw[0], raw[1:], now)

    def _receive(self) -> list[bytes] | None:
        if self._gate is None:
            return sockets.receive(self._socket)
        arrival = self._gate.receive("watch", self._socket)
        return arrival[0] if arrival else None

    def _send(self, identity: bytes, parts: list[Any]) -> bool:
        return sockets.send(self._socket, [identity, *parts])

    def close(self) -> None:
        self._socket.close(0)
