"""Sockets for samples and figures: which side binds is part of their address."""

from __future__ import annotations

from typing import Any

import zmq

from simulator.errors import AddressError
from simulator.link import constants as c
from simulator.link import sockets
from simulator.process import check_bind

WAITING = 128  # messages: what nobody reads between two frames must not fill the memory
ENDS = {"bind", "connect"}


def opened(
    context: zmq.Context[Any], kind: int, address: str, insecure: bool, setting: str
) -> zmq.Socket[bytes]:
    """A socket of that kind, bound or connected as ``bind:tcp://...`` or ``connect:tcp://...``
    says. Raises ``AddressError``, which names the ``setting``."""
    end, _, endpoint = address.partition(":")
    if end not in ENDS:
        raise AddressError(
            f"{setting} = {address!r} says neither bind: nor connect:; write for example "
            f"bind:tcp://127.0.0.1:5560."
        )
    try:
        host = sockets.host_of(endpoint)
    except sockets.EndpointError as error:
        raise AddressError(f"{setting}: {error}.") from None
    if end == "bind" and not insecure and check_bind(endpoint, False, True):
        raise AddressError(
            f"{setting}: {endpoint} can be reached from other machines, and what goes through it "
            f"is never encrypted; add --set channel.insecure=true if that network is yours, or "
            f"bind to tcp://127.0.0.1."
        )
    socket: zmq.Socket[bytes] = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, WAITING)
    socket.setsockopt(zmq.RCVHWM, WAITING)
    socket.setsockopt(zmq.MAXMSGSIZE, c.MAX_PART_BYTES)
    socket.setsockopt(zmq.IPV6, sockets.speaks_ipv6(host))
    if kind == zmq.SUB:
        socket.setsockopt(zmq.SUBSCRIBE, b"")
    try:
        if end == "bind":
            socket.bind(endpoint)
        else:
            socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise AddressError(f"{setting}: {endpoint} cannot be used ({error}).") from None
    return socket
