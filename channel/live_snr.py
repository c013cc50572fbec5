"""An SNR from outside: its newest value is that of the next frame."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import zmq

from channel.addresses import opened
from simulator.errors import SettingsError, path_from
from simulator.link.messages import WireError

SOCKETS = {"sub": (zmq.SUB, "connect"), "pull": (zmq.PULL, "bind")}
RANGE_DB = (-30.0, 60.0)
TAIL = 4096  # bytes at the end of a file that have its last line

log = logging.getLogger("channel")


def snr_of(message: bytes) -> float | None:
    """In dB: of a text, or else the last value of GNU Radio's stream of float. None where it is
    neither, or out of range."""
    try:
        value = float(message.decode("ascii"))
    except ValueError:
        if not message or len(message) % 4:
            return None
        value = float(np.frombuffer(message[-4:], "<f4")[0])
    return value if RANGE_DB[0] <= value <= RANGE_DB[1] else None


class LiveSnr:
    """``source``: as ``channel.snr_source``. Raises ``AddressError`` and ``SettingsError``."""

    def __init__(self, source: str, context: zmq.Context[Any], insecure: bool = False) -> None:
        self._source = source
        self._newest: float | None = None
        self._socket: zmq.Socket[bytes] | None = None
        name, _, endpoint = source.partition(":")
        if name in SOCKETS:
            kind, end = SOCKETS[name]
            address = f"{end}:{endpoint}"
            self._socket = opened(context, kind, address, insecure, "channel.snr_source")
        else:
            self._path = path_from(source)
            if self._path.is_dir():
                raise SettingsError(f"channel.snr_source {source} is a folder; name a file.")

    def newest(self) -> float:
        """In dB. Raises ``WireError`` (busy: ask again) until one has come."""
        for message in self._messages() if self._socket else self._last_line():
            value = snr_of(message)
            if value is None:
                log.warning("the SNR source said %r, which is no number of dB", message[:40])
            else:
                self._newest = value
        if self._newest is None:
            raise WireError("busy", f"no SNR has come from {self._source} yet")
        return self._newest

    def _messages(self) -> list[bytes]:
        found: list[bytes] = []
        assert self._socket is not None
        while self._socket.poll(0):
            found.append(self._socket.recv_multipart(zmq.DONTWAIT)[-1])
        return found[-1:]

    def _last_line(self) -> list[bytes]:
        """The last whole line: one without its end is being written."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, self._path.stat().st_size - TAIL))
                lines = file.read().split(b"\n")[:-1]
        except OSError:  # it may come later
            return []
        return [line.strip() for line in lines if line.strip()][-1:]

    def close(self) -> None:
        if self._socket:
            self._socket.close(0)
