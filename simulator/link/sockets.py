"""ZeroMQ sockets as the protocol wants them: bounded, without linger, mandatory routing."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import zmq

from simulator.link import constants as c

# Below this a copy is cheaper than zero-copy bookkeeping.
ZERO_COPY_BYTES = 64 * 1024


class EndpointError(Exception):
    """An endpoint cannot be bound or connected; the text says why."""


def _bounded(socket: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, c.HIGH_WATER_MARK)
    socket.setsockopt(zmq.RCVHWM, c.HIGH_WATER_MARK)
    socket.setsockopt(zmq.MAXMSGSIZE, c.MAX_PART_BYTES)
    socket.copy_threshold = ZERO_COPY_BYTES
    return socket


def door(context: zmq.Context[Any], endpoint: str) -> zmq.Socket[bytes]:
    """A bound ROUTER. Raises ``EndpointError``."""
    socket = _bounded(context.socket(zmq.ROUTER))
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        if error.errno == errno.EADDRINUSE:
            raise EndpointError(f"{endpoint} is in use by another process") from None
        raise EndpointError(f"{endpoint} cannot be bound: {error}") from None
    return socket


def dealer(context: zmq.Context[Any], endpoint: str) -> zmq.Socket[bytes]:
    """A connected DEALER with an automatic identity. Raises ``EndpointError``."""
    socket = _bounded(context.socket(zmq.DEALER))
    socket.setsockopt(zmq.RECONNECT_IVL, c.RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, c.RECONNECT_MAX_MS)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise EndpointError(f"{endpoint} cannot be connected to: {error}") from None
    return socket


def send(socket: zmq.Socket[bytes], parts: Sequence[Any]) -> bool:
    """Send without waiting. False: the peer is unknown or its queue is full."""
    try:
        socket.send_multipart(parts, zmq.DONTWAIT, copy=False)
    except zmq.ZMQError as error:
        if error.errno in (errno.EAGAIN, errno.EHOSTUNREACH):
            return False
        raise
    return True


def receive(socket: zmq.Socket[bytes]) -> list[bytes] | None:
    """One whole message, or None when there is none now."""
    try:
        return socket.recv_multipart(zmq.DONTWAIT)
    except zmq.Again:
        return None


class Waker:
    """Wakes a poller from another thread, through an inproc pair."""

    def __init__(self, context: zmq.Context[Any], name: str) -> None:
        endpoint = f"inproc://wake-{name}-{id(self)}"
        self.reader: zmq.Socket[bytes] = context.socket(zmq.PULL)
        self.reader.bind(endpoint)
        self._writer: zmq.Socket[bytes] = context.socket(zmq.PUSH)
        self._writer.connect(endpoint)

    def wake(self) -> None:
        send(self._writer, [b""])

    def drain(self) -> None:
        while receive(self.reader) is not None:
            pass

    def close(self) -> None:
        self._writer.close(0)
        self.reader.close(0)
