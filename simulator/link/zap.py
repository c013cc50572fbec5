"""The ZAP handler (ZeroMQ RFC 27): libzmq asks it at each CURVE handshake of its context.

It is one socket in the owner's poller, without a thread. While nobody answers there, because the
owner is stuck or the socket is gone, a door with a domain of its own lets nobody in: it must
enforce its domain (ZAP_ENFORCE_DOMAIN), else libzmq would let everybody in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq
from zmq.utils import z85

from simulator.link import sockets

ENDPOINT = "inproc://zeromq.zap.01"
VERSION = b"1.0"

# (domain, public key in Z85, address) -> may it enter
Admit = Callable[[str, str, str], bool]


class ZapHandler:
    """Answers every request that waits. To be made before the first door is bound."""

    def __init__(self, context: zmq.Context[Any], admit: Admit) -> None:
        self._admit = admit
        self.socket: zmq.Socket[bytes] = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(ENDPOINT)

    def answer(self) -> None:
        for _ in range(sockets.BURST):
            request = sockets.receive(self.socket)
            if request is None:
                return
            sockets.send(self.socket, self.decide(request))

    def decide(self, request: list[bytes]) -> list[bytes]:
        """The reply to one request. The User-Id of a connection is its key."""
        if len(request) != 7 or request[0] != VERSION:
            number = request[1] if len(request) > 1 else b""
            return [VERSION, number, b"400", b"CURVE is wanted", b"", b""]
        _, number, domain, address, _, mechanism, key = request
        if mechanism == b"CURVE" and len(key) == 32:
            public = z85.encode(key).decode()
            if self._admit(domain.decode("ascii", "replace"), public, address.decode()):
                return [VERSION, number, b"200", b"OK", public.encode(), b""]
        return [VERSION, number, b"400", b"this key is not admitted", b"", b""]

    def close(self) -> None:
        self.socket.close(0)
