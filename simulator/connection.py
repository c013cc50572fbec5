"""A client's connection to the channel, for tx, rx and who watches alike: its keys, and what went
wrong."""

from __future__ import annotations

from typing import Any, Literal

import zmq

from simulator.errors import AddressError, KeysError, RejectedError, path_from
from simulator.link import messages as m
from simulator.link import sockets
from simulator.link.handshake import HandshakeError, Handshakes, Monitor
from simulator.link.keyfolder import read_client
from simulator.link.keys import KeyFileError
from simulator.link.traffic import Traffic, size_of

Client = Literal["tx", "rx", "watch"]
LOOK_S = 0.1  # how often the events of the handshake are looked at


def read_key(folder: str, role: Client, name: str) -> sockets.Key | None:
    """The key of a client's folder; None where no folder is set. A page has the name that its key
    has. Raises ``KeysError``."""
    if not folder:
        return None
    try:
        pair, server = read_client(path_from(folder), role, "" if role == "watch" else name)
    except KeyFileError as error:
        raise KeysError(str(error)) from None
    return sockets.Key(pair.public, pair.secret, server)


class Connection:
    """A DEALER that says why it does not come about. Raises ``AddressError``, ``KeysError``."""

    def __init__(
        self,
        role: Client,
        name: str,
        endpoint: str,
        keys: str,
        bounds: sockets.Bounds = sockets.OF_THE_LINK,
    ) -> None:
        self.role, self.name = role, name
        self.traffic: Traffic | None = None  # where bytes are to be counted
        key = read_key(keys, role, name)
        self.context: zmq.Context[Any] = zmq.Context()
        self.socket = sockets.dealer(self.context, key, bounds)
        self._handshakes = Handshakes(endpoint, key is not None)
        self._looked_at = -LOOK_S
        self._monitor = Monitor(self.socket, self._handshakes)
        try:
            sockets.connect(self.socket, endpoint)
        except sockets.EndpointError as error:
            self.close()
            raise AddressError(f"{role} cannot reach the channel: {error}.") from None

    def send(self, message: m.Message, parts: tuple[Any, ...]) -> bool:
        return self.send_parts(m.encode(message, parts))

    def send_parts(self, encoded: list[Any]) -> bool:
        sent = sockets.send(self.socket, encoded)
        if sent and self.traffic:
            self.traffic.sent += size_of(encoded)
        return sent

    def receive(self) -> list[bytes] | None:
        received = sockets.receive(self.socket)
        if received and self.traffic:
            self.traffic.received += size_of(received)
        return received

    def look(self, now: float) -> None:
        """Now and then. Raises ``RejectedError`` or ``AddressError`` where waiting is useless."""
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        try:
            self._monitor.look(now)
        except HandshakeError as error:
            kind = RejectedError if error.refused else AddressError
            raise kind(f"{self.role} {self.name!r} is not connected: {error}.") from None

    @property
    def problem(self) -> str | None:
        """Why nothing arrives, as a sentence; None where the reason is not the handshake."""
        problem = self._handshakes.problem
        return f"{problem}; waiting" if problem else None

    def close(self, last_word_ms: int = 0) -> None:
        self._monitor.close()
        self.socket.close(last_word_ms)
        self.context.term()
