"""ZeroMQ sockets as the protocol wants them: bounded, without linger, mandatory routing."""

from __future__ import annotations

import errno
import os
import socket as os_sockets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import zmq

from simulator.link import constants as c

# Below this a copy is cheaper than zero-copy bookkeeping.
ZERO_COPY_BYTES = 64 * 1024
# Plain numbers: the library's flags cost more to combine than a header to send.
NOW, MORE = int(zmq.DONTWAIT), int(zmq.DONTWAIT) | int(zmq.SNDMORE)
BURST = 64  # messages taken from one socket before the others get their turn


class EndpointError(Exception):
    """An endpoint cannot be bound or connected; the text says why."""


def host_of(endpoint: str) -> str:
    """The host of a ``tcp://`` endpoint, without brackets; empty for ``ipc://``.

    Raises ``EndpointError``.
    """
    if endpoint.startswith("ipc://"):
        return ""
    try:
        parts = urlsplit(endpoint)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        scheme, host, port = "", "", None
    if scheme != "tcp" or not host or not port:
        raise EndpointError(
            f"{endpoint!r} is not an address such as tcp://127.0.0.1:5550 or tcp://[::1]:5550"
        )
    return host


def speaks_ipv6(host: str) -> bool:
    """Whether ZeroMQ has to be told to use IPv6: for every address, for one that is written so,
    and for a name that has no other.

    Not for a name that has both: ``localhost`` would be another address at each end.
    """
    if host == "*" or ":" in host:
        return True
    try:
        found = os_sockets.getaddrinfo(host, None, type=os_sockets.SOCK_STREAM) if host else []
    except (OSError, UnicodeError):  # not known, or not now: libzmq tries again and again
        return False
    return bool(found) and all(family != os_sockets.AF_INET for family, *_ in found)


@dataclass(frozen=True)
class Bounds:
    """Of a socket: messages that wait, each way and for each peer; bytes of a part that it takes;
    milliseconds after which a peer that takes nothing is cut off (TCP), 0: never."""

    messages: int = c.HIGH_WATER_MARK
    part_bytes: int = c.MAX_PART_BYTES
    stalled_ms: int = 0


OF_THE_LINK = Bounds()


def _bounded(socket: zmq.Socket[bytes], bounds: Bounds) -> zmq.Socket[bytes]:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, bounds.messages)
    socket.setsockopt(zmq.RCVHWM, bounds.messages)
    socket.setsockopt(zmq.MAXMSGSIZE, bounds.part_bytes)
    if bounds.stalled_ms:
        socket.setsockopt(zmq.TCP_MAXRT, bounds.stalled_ms)
    socket.setsockopt(zmq.HANDSHAKE_IVL, c.HANDSHAKE_MS)
    socket.copy_threshold = ZERO_COPY_BYTES
    return socket


@dataclass(frozen=True)
class Lock:
    """Makes a door a CURVE server. ``domain`` is what the ZAP handler is asked about."""

    domain: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Key:
    """Opens a locked door: an own pair, and the only server that it is shown to."""

    public: str
    secret: str = field(repr=False)
    server: str


def door(
    context: zmq.Context[Any],
    endpoint: str,
    lock: Lock | None = None,
    bounds: Bounds = OF_THE_LINK,
) -> zmq.Socket[bytes]:
    """A bound ROUTER. Raises ``EndpointError``."""
    ipv6 = speaks_ipv6(host_of(endpoint))
    socket = _bounded(context.socket(zmq.ROUTER), bounds)
    socket.setsockopt(zmq.IPV6, ipv6)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    if lock:
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, lock.secret.encode())
        socket.setsockopt(zmq.ZAP_DOMAIN, lock.domain.encode())
        # Without it libzmq admits every key while no ZAP handler answers.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        if error.errno == errno.EADDRINUSE:
            raise EndpointError(f"{endpoint} is in use by another process") from None
        raise EndpointError(f"{endpoint} cannot be bound: {error}") from None
    return socket


def dealer(
    context: zmq.Context[Any], key: Key | None = None, bounds: Bounds = OF_THE_LINK
) -> zmq.Socket[bytes]:
    """A DEALER with an automatic identity, to be connected."""
    socket = _bounded(context.socket(zmq.DEALER), bounds)
    socket.setsockopt(zmq.RECONNECT_IVL, c.RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, c.RECONNECT_MAX_MS)
    if key:
        socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret.encode())
        socket.setsockopt(zmq.CURVE_SERVERKEY, key.server.encode())
    return socket


def connect(socket: zmq.Socket[bytes], endpoint: str) -> None:
    """Raises ``EndpointError``."""
    socket.setsockopt(zmq.IPV6, speaks_ipv6(host_of(endpoint)))
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        raise EndpointError(f"{endpoint} cannot be connected to: {error}") from None


def send(socket: zmq.Socket[bytes], parts: Sequence[Any]) -> bool:
    """Send without waiting. False: the peer is unknown or its queue is full."""
    last = len(parts) - 1
    try:
        for index, part in enumerate(parts):
            # pyzmq wraps a part that it may share with libzmq, even if it copies it later.
            small = memoryview(part).nbytes < ZERO_COPY_BYTES
            socket.send(part, MORE if index < last else NOW, copy=small)
    except zmq.ZMQError as error:
        if error.errno in (errno.EAGAIN, errno.EHOSTUNREACH):
            return False
        raise
    return True


def receive(socket: zmq.Socket[bytes]) -> list[bytes] | None:
    """One whole message, or None when there is none now."""
    try:
        frame = socket.recv(NOW, copy=False)
    except zmq.Again:
        return None
    parts = [frame.bytes]
    while frame.more:  # asked of the socket, it would cost as much as a part
        frame = socket.recv(NOW, copy=False)
        parts.append(frame.bytes)
    return parts


@dataclass(frozen=True)
class Arrival:
    """A message at a locked door, and the connection that it came by."""

    parts: list[bytes]  # the identity first
    public: str  # the key of that connection: CURVE and the ZAP handler vouch for it
    descriptor: int


def receive_known(socket: zmq.Socket[bytes]) -> Arrival | None:
    """One whole message at a locked door, or None when there is none now."""
    try:
        first = socket.recv(NOW, copy=False)
    except zmq.Again:
        return None
    rest = socket.recv_multipart(NOW) if first.more else []
    try:
        public, descriptor = str(first.get("User-Id")), int(first.get(zmq.SRCFD))
    except zmq.ZMQError:  # a connection that nobody has vouched for
        public, descriptor = "", -1
    return Arrival([first.bytes, *rest], public, descriptor)


def cut(socket: zmq.Socket[bytes], arrival: Arrival) -> None:
    """Close the connection that a message came by; ZeroMQ itself has no way to.

    Best effort. If the peer closed it a moment ago and another one of this door got its number,
    that one is cut instead and connects again. A number that is no connection of this door is
    left alone.
    """
    endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
    with suppress(OSError), os_sockets.socket(fileno=os.dup(arrival.descriptor)) as connection:
        here = connection.getsockname()
        if isinstance(here, tuple):
            own = endpoint.rpartition(":")[2] == str(here[1])
        else:
            own = endpoint == f"ipc://{here}"
        if own:
            connection.shutdown(os_sockets.SHUT_RDWR)
