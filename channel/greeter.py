"""What the channel tells those at its doors of itself, and tx of the receivers that come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from channel.peers import Guests, Peer, Side
from simulator.link import messages as m
from simulator.settings import ChannelSettings

Send = Callable[[Side, bytes, m.Message, tuple[Any, ...]], bool]


class Greeter:
    """Answers to HELLO. ``digest``: of the channel's settings, as GRANT and FRAME repeat it."""

    def __init__(
        self, settings: ChannelSettings, epoch: str, digest: str, guests: Guests, send: Send
    ) -> None:
        self.settings, self.epoch, self.digest = settings, epoch, digest
        self.guests = guests
        self._send = send
        self.turned_away = ""  # why, of the last receiver that came, if it was

    def greet(self, side: Side, peer: Peer) -> None:
        """A peer has come in."""
        self._welcome(side, peer)
        if side == "back":
            self.turned_away = ""
            self.announce_receivers()
        elif self.turned_away:
            self._tell_of_refusal(peer)

    def refuse(self, side: Side, identity: bytes, refusal: m.Reject) -> None:
        """A peer is turned away; whoever waits for a receiver should know why there is none."""
        self._send(side, identity, refusal, ())
        if side == "back":
            self.turned_away = refusal.reason
            for peer in self.guests.doors["front"].values():
                self._tell_of_refusal(peer)

    def announce_receivers(self) -> None:
        """Their number has changed."""
        for peer in self.guests.doors["front"].values():
            self._welcome("front", peer)

    def _tell_of_refusal(self, peer: Peer) -> None:
        nack = m.Nack(code="receiver-refused", reason=self.turned_away)
        self._send("front", peer.identity, nack, ())

    def _welcome(self, side: Side, peer: Peer) -> None:
        codec = peer.hello.codec
        welcome = m.Welcome(
            epoch=self.epoch,
            settings=self.digest,
            waveform=self.settings.waveform,
            receivers=sum(p.hello.codec == codec for p in self.guests.doors["back"].values()),
            symbol_rate_hz=self.settings.symbol_rate_hz,
            guard_s=self.settings.guard_s,
        )
        self._send(side, peer.identity, welcome, ())
