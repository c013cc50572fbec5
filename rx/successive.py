"""Two superposed frames, decoded one after the other.

    y -equalise-> -Decoder-> image of the user that is received stronger
    image -Encoder-> x', y -cancel x'-> -equalise-> -Decoder-> image of the other user

The receiver encodes again as the transmitter has encoded, since it knows what that one knew.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Protocol

import numpy as np

from rx.chain import Decoder, given_to_decoder
from simulator.errors import SettingsError
from simulator.images import Pixels, Size
from simulator.jscc.signal import Signal, ToDecode, ToEncode
from simulator.phy.cancellation import Remaining, cancelled, leak_of
from simulator.phy.propagation import noise_variance
from simulator.phy.reception import Equalizer
from simulator.phy.state import ChannelState
from simulator.phy.streams import complex_normal, stream
from simulator.phy.superposition import Two, View, scrambling, stronger

PROBE = 0.1  # power of the probe, of that of the disturbance


class Encoder(Protocol):
    """That of the codec, as the transmitters have it."""

    def encode(self, given: ToEncode) -> Signal[np.ndarray]: ...


@dataclass(frozen=True, eq=False)
class Asked:
    """What an encoder was given beside its image, of that size (H, W), and its side information."""

    state: ChannelState
    size: Size
    ratio: Fraction
    side: bytes = b""


@dataclass(frozen=True, eq=False)
class Arrived:
    """``received``: (max(K_1, K_2),) complex64; ``snr_db``: of all the power, as both ends take it
    to be; ``key`` and ``draws``: user 1's draw key and the version of its draws; ``scrambled``:
    whether user 2 sends in an order of its own."""

    received: np.ndarray
    users: Two
    asked: tuple[Asked, Asked]
    snr_db: float
    key: bytes
    draws: int
    scrambled: bool = True


@dataclass(frozen=True, eq=False)
class Part:
    """What the decoder is given of one user; ``sinr_db``: how that user is received."""

    given: ToDecode
    sinr_db: float


class Successive:
    """``first``: 0 or 1, the user that is decoded first."""

    def __init__(
        self, arrived: Arrived, decoder: Decoder, encoder: Encoder, equalizer: Equalizer
    ) -> None:
        self._arrived, self._equalizer = arrived, equalizer
        self._decoder, self._encoder = decoder, encoder
        self.users, self.received = arrived.users, arrived.received
        self.n0 = noise_variance(arrived.snr_db)
        self.first = stronger(self.users)
        self.codes = [
            scrambling(i if arrived.scrambled else 0, user.k) for i, user in enumerate(self.users)
        ]

    @cached_property
    def strong(self) -> Part:
        """The user that is decoded first, beside all of the other one."""
        return self._part(self.first, self.together(self.first), self.received)

    @cached_property
    def strong_pixels(self) -> Pixels:
        """The image of the user that is decoded first, (H, W, 3) uint8."""
        return self._decoder.decode(self.strong.given)

    def weak(self, remaining: Remaining) -> Part:
        """The other user, beside what is left of the first one."""
        i, symbols = 1 - self.first, self.received.copy()
        symbols[: len(remaining.symbols)] = remaining.symbols
        view = View.of(self.users[i], self.users[self.first], self.n0, remaining.left)
        return self._part(i, view, symbols)

    def together(self, i: int) -> View:
        """Of user i, with all of the other one."""
        return View.of(self.users[i], self.users[1 - i], self.n0)

    def _part(self, i: int, view: View, symbols: np.ndarray) -> Part:
        asked, heard = self._arrived.asked[i], view.heard(symbols, self.codes[i])
        given = given_to_decoder(heard, self._equalizer, asked.size, asked.side)
        return Part(given, view.sinr_db)

    def measured(self) -> Remaining:
        """What is left of y, in the channel uses that both have sent in, where what the receiver
        measures says how much of the estimate to subtract. Raises ``SettingsError`` as
        ``estimate``."""
        view, arrived = self.together(1 - self.first), self._arrived
        n, known = view.overlap, view.user.energy + self.n0
        estimate = self.estimate(self.strong_pixels)[:n]
        probe = complex_normal(stream(arrived.key, "probe", arrived.draws), n)
        probe *= np.float32((PROBE * known) ** 0.5)
        nudged = self.received.copy()
        nudged[:n] += probe
        part = self._part(self.first, self.together(self.first), nudged)
        leak = leak_of(estimate, self.estimate(self._decoder.decode(part.given))[:n], probe)
        return cancelled(self.received[:n], estimate, leak, known)

    def estimate(self, pixels: Pixels) -> np.ndarray:
        """(K,) what an image of the first user, as it is decoded, would have arrived as. Raises
        ``SettingsError`` where a codec sends as many symbols as an image needs."""
        asked = self._arrived.asked[self.first]
        symbols = self._encoder.encode(ToEncode(pixels, asked.state, asked.ratio)).symbols
        if len(symbols) != self.users[self.first].k:
            raise SettingsError(
                "this codec sends another number of symbols for an image that was decoded than "
                "for the one that was sent, so that it cannot be cancelled; take another codec, or "
                "in a sweep cancel=none."
            )
        return self.as_received(self.codes[self.first].done(symbols))

    def as_received(self, symbols: np.ndarray) -> np.ndarray:
        """Symbols of the first user behind its power and gain."""
        arrived: np.ndarray = np.complex64(self.users[self.first].amplitude) * symbols
        return arrived
