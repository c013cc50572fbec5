"""Two users on one medium at once (power-domain NOMA), and what is seen of each of them.

    y = sqrt(P_1) h_1 x_1 + sqrt(P_2) h_2 x_2 + n,   P_1 + P_2 = 1
    SINR_i = P_i abs(h_i)^2 / (I + N0),   I = P_j abs(h_j)^2, or what is left of it

The SNR 1 / N0 is that of all the power together under a gain of 1. A frame that is shorter than
the other one is silent afterwards, and symbols of the longer one then have the noise alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from simulator.phy.propagation import noise_variance
from simulator.phy.reception import Heard
from simulator.phy.state import ChannelState
from simulator.phy.streams import stream

TURNS = np.array([1, 1j, -1, -1j], np.complex64)
TINY = 1e-10  # an SINR of nothing
CODE_VERSION = 2  # of the draws that make a scrambling: part of the signal, not of the channel


@dataclass(frozen=True)
class User:
    """``power``: P; ``h``: one gain for the frame; ``k``: its symbols."""

    power: float
    h: complex
    k: int

    @property
    def amplitude(self) -> complex:
        """sqrt(P) h."""
        return math.sqrt(self.power) * self.h

    @property
    def energy(self) -> float:
        """P abs(h)^2, of a symbol as it is received."""
        return self.power * abs(self.h) ** 2


Two = tuple[User, User]


def users_of(share: float, h: tuple[complex, complex], ks: tuple[int, int]) -> Two:
    """``share``: P_1; ``h``: the gain of each; ``ks``: the symbols of each."""
    return User(share, h[0], ks[0]), User(1 - share, h[1], ks[1])


def charges(ks: tuple[int, int]) -> tuple[int, int]:
    """Channel uses of each of two frames: together max(K_1, K_2)."""
    both = min(ks)
    own = (-(-both // 2), both // 2)
    return own[0] + ks[0] - both, own[1] + ks[1] - both


def superposed(users: Sequence[User], sent: Sequence[np.ndarray]) -> np.ndarray:
    """What arrives without noise, complex64, as long as the longest of ``sent``: (K_i,) each."""
    total = np.zeros(max(map(len, sent)), np.complex64)
    for user, symbols in zip(users, sent, strict=True):
        total[: len(symbols)] += np.complex64(user.amplitude) * symbols
    return total


def stronger(users: Sequence[User]) -> int:
    """Which of two users is decoded first: the one that is received with more energy."""
    return int(users[1].energy > users[0].energy)


@dataclass(frozen=True)
class View:
    """What a receiver knows of one user. ``interference``: mean power of what is left of the other
    one, in the first ``overlap`` of the symbols; ``n0``: the noise variance of all."""

    user: User
    interference: float
    overlap: int
    n0: float

    @classmethod
    def of(cls, user: User, other: User, n0: float, left: float | None = None) -> View:
        """``left``: of the other one's power; None: all of it."""
        interference = other.energy if left is None else left
        return cls(user, interference, min(user.k, other.k), n0)

    @property
    def sinr(self) -> float:
        """Linear, of the symbols beside which the other user sends."""
        return self.user.energy / (self.interference + self.n0)

    @property
    def sinr_db(self) -> float:
        return 10 * math.log10(max(self.sinr, TINY))

    @property
    def lift(self) -> float:
        """The amplitude of symbols behind the overlap, once all have the same noise."""
        return math.sqrt((self.interference + self.n0) / self.n0)

    @property
    def bits(self) -> float:
        """That arrive at most, where the interference is Gaussian or taken to be."""
        alone = self.user.energy / self.n0
        tail = self.user.k - self.overlap
        return self.overlap * math.log2(1 + self.sinr) + tail * math.log2(1 + alone)

    @property
    def state(self) -> ChannelState:
        """For encoder and decoder: the interference counts as noise of a symbol of unit power.

        Symbols behind the overlap have less of it, which is said by a second gain.
        """
        snr_db = 10 * math.log10(self.user.power / (self.interference + self.n0))
        gains = [self.user.h]
        if self.overlap < self.user.k:
            gains.append(self.user.h * self.lift)
        return ChannelState(snr_db, np.array(gains, np.complex64))

    def heard(self, received: np.ndarray, code: Scrambling) -> Heard:
        """From all that was received, in the order in which the encoder made the symbols."""
        state, k = self.state, self.user.k
        payload = received[:k] / np.float32(math.sqrt(self.user.power))
        if len(state.h) == 1:
            return Heard(code.undone(payload), state)
        block = (np.arange(k) >= self.overlap).astype(np.intp)
        payload = payload * np.array([1, self.lift], np.float32)[block]
        return Heard(code.undone(payload), state, code.back(block))


def views_of(users: Two, n0: float) -> tuple[View, View]:
    """Of both, where the first one that is decoded is then subtracted without a rest."""
    first = stronger(users)
    left = [None if i == first else 0.0 for i in range(2)]
    return (
        View.of(users[0], users[1], n0, left[0]),
        View.of(users[1], users[0], n0, left[1]),
    )


def states_of(
    share: float, told: tuple[complex, complex], ks: tuple[int, int], snr_db: float
) -> tuple[ChannelState, ChannelState]:
    """What the encoders of both users are given. ``told``: the gains, as far as their transmitters
    know them; ``snr_db``: of all the power, as both ends take it to be."""
    first, second = views_of(users_of(share, told, ks), noise_variance(snr_db))
    return first.state, second.state


@dataclass(frozen=True, eq=False)
class Scrambling:
    """The order in which a user sends its symbols, and a quarter turn of each.

    Encoders put an image's parts at the same places always: one image over another would look like
    an image, which no decoder tells from the one that it is to decode. Behind a scrambling of its
    own each user is noise to the other (interleave-division multiple access).
    """

    order: np.ndarray  # (K,) the symbol that goes at each place
    turns: np.ndarray  # (K,) complex64, of 1, j, -1, -j

    def done(self, symbols: np.ndarray) -> np.ndarray:
        sent: np.ndarray = symbols[self.order] * self.turns
        return sent

    def undone(self, received: np.ndarray) -> np.ndarray:
        return self.back(received * self.turns.conj())

    def back(self, values: np.ndarray) -> np.ndarray:
        """Values in the order of sending, in that of the symbols."""
        own = np.empty_like(values)
        own[self.order] = values
        return own


@lru_cache(maxsize=16)
def scrambling(user: int, k: int) -> Scrambling:
    """Of the user with this number. Number 0 sends its symbols as they are."""
    if user == 0:
        return Scrambling(np.arange(k), np.ones(k, np.complex64))
    generator = stream(user.to_bytes(32, "big"), "scrambling", CODE_VERSION)
    return Scrambling(generator.permutation(k), TURNS[generator.integers(0, 4, k)])
