"""What became of a client's handshakes, from the events of its socket.

The name of the machine is not known, nobody listens, nobody answers, the channel refuses the key,
it speaks without keys, it closes or is silent: seven causes that look alike from the outside,
because nothing arrives.
"""

from __future__ import annotations

import errno

import zmq
from zmq.utils.monitor import recv_monitor_message

from simulator.link import constants as c

EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_CONNECT_DELAYED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_CONNECTED
    | zmq.EVENT_CLOSED
)


class HandshakeError(Exception):
    """The connection will not come about. ``refused``: there is a channel, and it said no."""

    def __init__(self, reason: str, refused: bool) -> None:
        super().__init__(reason)
        self.refused = refused


class Reach:
    """Whether the endpoint can be reached at all; no sockets in here."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._trying_since: float | None = None
        self._tried = False  # since the last pause
        self._problem: str | None = None

    def event(self, kind: int, now: float) -> None:
        if kind == zmq.EVENT_CONNECT_DELAYED:
            self._tried, self._trying_since = True, now
        elif kind == zmq.EVENT_CONNECTED:
            self._tried, self._trying_since, self._problem = True, None, None
        elif kind == zmq.EVENT_CLOSED:
            self._problem = self._unanswered(now) or (
                f"nobody listens at {self._endpoint}; start the channel there, or correct the "
                f"address"
            )
            self._tried, self._trying_since = True, None
        elif kind == zmq.EVENT_CONNECT_RETRIED:
            if not self._tried and self._endpoint.startswith("tcp://"):
                self._problem = (
                    f"the name in {self._endpoint} is not known to this machine; look whether it "
                    f"is spelt right"
                )
            self._tried = False

    def _unanswered(self, now: float) -> str | None:
        if self._trying_since is None or now - self._trying_since < c.UNANSWERED_S:
            return None
        return (
            f"{self._endpoint} neither accepts nor refuses the connection; look whether the "
            f"address is right, the machine is on, and no firewall is in between"
        )

    def problem(self, now: float) -> str | None:
        return self._unanswered(now) or self._problem


class Handshakes:
    """Judges the events of one connecting socket; no sockets in here.

    A channel that goes away and comes back is no failure: after the first handshake that
    succeeded only a refusal counts.
    """

    def __init__(self, endpoint: str, keyed: bool) -> None:
        self._endpoint, self._keyed = endpoint, keyed
        self._succeeded = False
        self._failing_since: float | None = None
        self._silent = False
        self._reach, self._now = Reach(endpoint), 0.0

    def event(self, kind: int, value: int, now: float) -> None:
        """Raises ``HandshakeError`` where trying again is useless."""
        self._reach.event(kind, now)
        if kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._succeeded, self._failing_since = True, None
        elif kind == zmq.EVENT_CLOSED:  # nobody listens: that may change
            self._failing_since = None
        elif kind == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            raise HandshakeError(
                f"the channel at {self._endpoint} does not admit its key; look whether this is "
                f"the port for its role, and add it there with diffjscc keys add, unless it was "
                f"revoked",
                True,
            )
        elif kind == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            raise HandshakeError(self._mismatch(value), True)
        elif kind == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            self._silent = value in (errno.EAGAIN, errno.ETIMEDOUT)
            if self._failing_since is None:
                self._failing_since = now

    def _mismatch(self, value: int) -> str:
        if value != zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            return f"what listens at {self._endpoint} does not speak this protocol"
        if self._keyed:
            return (
                f"the channel at {self._endpoint} has no keys; give it some (channel.keys), or "
                f"give up encryption on both sides"
            )
        return (
            f"the channel at {self._endpoint} wants keys; make some with diffjscc keys init and "
            f"name their folder (tx.keys, rx.keys, watch --keys)"
        )

    @property
    def problem(self) -> str | None:
        """What is wrong at the moment, as a clause; None where nothing is known to be."""
        if self._failing_since is None:
            return self._reach.problem(self._now)
        if self._silent:
            return f"{self._endpoint} accepts the connection and then says nothing"
        if self._keyed:
            return (
                f"{self._endpoint} breaks the handshake off; look whether that channel has keys, "
                f"and whether channel.pub in the key folder is its key"
            )
        return f"{self._endpoint} breaks the handshake off; it may want keys"

    def check(self, now: float) -> None:
        """Raises ``HandshakeError`` once a keyed handshake has failed for long enough.

        Without keys there is nothing that could be wrong for good: that side waits.
        """
        self._now = now
        since = self._failing_since
        if since is None or self._succeeded or not self._keyed:
            return
        if now - since > c.HANDSHAKE_PATIENCE_S:
            raise HandshakeError(str(self.problem), not self._silent)


class Monitor:
    """The handshakes of a socket; to be made before it connects."""

    def __init__(self, socket: zmq.Socket[bytes], handshakes: Handshakes) -> None:
        self._socket, self.handshakes = socket, handshakes
        self._events = socket.get_monitor_socket(EVENTS)

    def look(self, now: float) -> None:
        """Raises ``HandshakeError``."""
        while self._events.poll(0):
            event = recv_monitor_message(self._events)
            self.handshakes.event(event["event"], event["value"], now)
        self.handshakes.check(now)

    def close(self) -> None:
        self._socket.disable_monitor()
        self._events.close(0)
