"""A client's side of the greeting and of heartbeats, for tx and rx alike. No sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.clock import ClockOffset

Send = Callable[[m.Message, tuple[Any, ...]], bool]


class Rejected(Exception):
    """The channel refused this process for good; the text says why."""


class Session:
    """HELLO until welcomed, heartbeats after, HELLO again when the channel is another one.

    ``epoch`` names the channel process that welcomed us; it is empty while there is none.
    """

    def __init__(self, hello: m.Hello, send: Send) -> None:
        self.hello = hello
        self.send = send
        self.welcome: m.Welcome | None = None
        self.offset = ClockOffset()
        self.answered_at = 0.0
        self._beat_at = -c.SILENCE_S
        self._hello_at = -c.SILENCE_S

    @property
    def epoch(self) -> str:
        return self.welcome.epoch if self.welcome else ""

    @property
    def receivers(self) -> int:
        """That the channel has, as it has said last."""
        return self.welcome.receivers if self.welcome else 0

    def tick(self, now: float, running: list[bytes]) -> None:
        """Say what is due: HELLO each second while not welcomed, else HEARTBEAT."""
        if self.welcome and now - self.answered_at > c.SILENCE_S:
            self.lost()
        if self.welcome is None:
            if now - self._hello_at >= c.HEARTBEAT_S:
                self._hello_at = now
                self.send(self.hello, ())
        elif now - self._beat_at >= c.HEARTBEAT_S:
            self._beat_at = now
            self.send(m.Heartbeat(times=[now], epoch=self.epoch, running=running[:1024]), ())

    def lost(self) -> None:
        """The channel is gone or does not know us: greet again at the next tick."""
        self.welcome = None
        self._hello_at = -c.SILENCE_S

    def receive(self, message: m.Message, now: float) -> bool:
        """Handle a message of the session itself. True: there is a new channel process.

        Raises ``Rejected``.
        """
        self.answered_at = now
        if isinstance(message, m.Reject):
            raise Rejected(message.reason)
        if isinstance(message, m.Welcome):
            new = message.epoch != self.epoch
            self.welcome = message
            if new:  # it comes again when the number of receivers changes
                self.offset.reset()
            return new
        if isinstance(message, m.Heartbeat) and len(message.times) == 3:
            t1, t2, t3 = message.times
            self.offset.add(t1, t2, t3, now)
            if self.welcome and message.epoch != self.epoch:
                self.lost()
        elif isinstance(message, m.Nack) and message.code == "say-hello":
            self.lost()
        return False
