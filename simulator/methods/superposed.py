"""Two frames in this process on one medium at once, decoded one after the other.

    images -Encoder-> x_1, x_2 -scramble-> y = sqrt(P_1) h_1 x_1 + sqrt(P_2) h_2 x_2 + n
    y -equalise-> -Decoder-> image of the user that is received stronger
    image -Encoder-> x', y -cancel x'-> -equalise-> -Decoder-> image of the other user

Gains are those that each frame has alone; the noise is that of the first user's frame. Both ends
know the two gains as far as CSIT says them, so that the receiver encodes again as the transmitter
has encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from rx.chain import given_to_decoder
from simulator.chain import Draw, Link
from simulator.errors import SettingsError
from simulator.images import Pixels, check_pixels
from simulator.jscc.signal import Signal, ToDecode, ToEncode
from simulator.link.clock import monotonic
from simulator.phy.cancellation import Remaining, cancelled, leak_of
from simulator.phy.flat import Flat
from simulator.phy.propagation import noise_variance
from simulator.phy.superposition import User, View, scrambling, stronger, superposed

Cancel = Literal["measured", "plain", "none", "genie"]
PROBE = 0.1  # power of the probe, of that of the disturbance
Two = tuple[User, User]


@dataclass(frozen=True)
class Superposed:
    """What has come of one of two users' images.

    ``k``: symbols that were sent; ``charged``: channel uses, of which those that both have sent in
    count half for each; ``first``: whether it was decoded first; ``told_sinr_db``: the SINR that
    its decoder was given, and ``sinr_db``: the true one, measured over its symbols.
    """

    pixels: Pixels
    k: int
    charged: int
    side_uses: int
    first: bool
    told_sinr_db: float
    sinr_db: float
    seconds: float


def charges(ks: tuple[int, int]) -> tuple[int, int]:
    """Channel uses of each of two frames: together max(K_1, K_2)."""
    both = min(ks)
    own = (-(-both // 2), both // 2)
    return own[0] + ks[0] - both, own[1] + ks[1] - both


def check_air(draw: Draw) -> None:
    """Raises ``SettingsError`` for a channel that two frames cannot be put on at once here."""
    settings = draw.medium.settings
    if not isinstance(draw.law, Flat):
        raise SettingsError(
            f"superposed frames have one gain each, and {draw.point.channel} has more: take awgn, "
            f"rayleigh or rician."
        )
    if draw.point.snr_db is None:
        raise SettingsError("superposed frames have one SNR, and a trace has one for each.")
    wrong = {
        "channel.coherence_time": settings.coherence_time,
        "channel.csir = 'estimated'": settings.csir == "estimated",
        "channel.packets": settings.packets.size,
        "channel.impairments": settings.impairments,
    }
    for name, given in wrong.items():
        if given:
            raise SettingsError(f"superposed frames are not computed under {name}; leave it out.")


def users_of(share: float, draws: tuple[Draw, Draw], ks: tuple[int, int]) -> Two:
    """As they are received. ``share``: P_1."""
    h = [complex(draw.medium.gains(draw.key, draw.point, 1)[0]) for draw in draws]
    return User(share, h[0], ks[0]), User(1 - share, h[1], ks[1])


def views_of(users: Two, n0: float) -> tuple[View, View]:
    """Of both, where the first one that is decoded is then subtracted without a rest."""
    first = stronger(users)
    left = [None if i == first else 0.0 for i in range(2)]
    return (
        View.of(users[0], users[1], n0, left[0]),
        View.of(users[1], users[0], n0, left[1]),
    )


@dataclass(frozen=True)
class Sharing:
    """Both users have the codec of ``link``; ``share``: P_1, and P_2 is the rest.

    ``cancel``: how the first image that is decoded is subtracted: with weights that follow from
    what the receiver measures; ``plain``: as if it were exact; ``none``: not at all; ``genie``:
    the symbols that were sent instead. ``scramble``: whether user 2 sends in an order of its own.
    Raises ``SettingsError`` for a codec with feedback.
    """

    link: Link
    share: float = 0.8
    cancel: Cancel = "measured"
    scramble: bool = True

    def __post_init__(self) -> None:
        if self.link.encoder.rounds > 1:
            raise SettingsError("a codec with feedback cannot share its channel uses.")

    def send(
        self, images: tuple[Pixels, Pixels], ratio: Fraction, draws: tuple[Draw, Draw], wanted: int
    ) -> Superposed:
        """What comes of the image of user ``wanted``, 0 or 1. ``ratio``: K / (3 H W) of each frame.

        Raises ``SettingsError`` for a channel as ``check_air`` does, for an image of another form,
        at a ratio that the codec does not have, and where a codec sends as many symbols as an image
        needs, so that no image can be encoded again.
        """
        check_air(draws[0])
        for image in images:
            check_pixels(image)
        began = monotonic()
        air = _Air(self, self._asked(images, ratio, draws), draws)
        view, symbols = air.together(air.first), air.received
        if wanted != air.first:
            remaining = air.without_first()
            view = View.of(air.users[wanted], air.users[air.first], air.n0, remaining.left)
            symbols = air.received.copy()
            symbols[: len(remaining.symbols)] = remaining.symbols
        given = air.given(wanted, view, symbols)
        pixels = self.link.decoder.decode(given)
        signal, draw = air.signals[wanted], draws[wanted]
        return Superposed(
            pixels=pixels,
            k=len(signal.symbols),
            charged=charges((air.users[0].k, air.users[1].k))[wanted],
            side_uses=draw.medium.side_uses(draw.point, len(signal.side)),
            first=wanted == air.first,
            told_sinr_db=view.sinr_db,
            sinr_db=sinr_db_of(signal.symbols, given.symbols),
            seconds=monotonic() - began,
        )

    def _asked(
        self, images: tuple[Pixels, Pixels], ratio: Fraction, draws: tuple[Draw, Draw]
    ) -> tuple[ToEncode, ToEncode]:
        """What both encoders are given, of what CSIT says of both gains."""
        ks = [self.link.encoder.k((each.shape[0], each.shape[1]), ratio) for each in images]
        told = [complex(draw.csit(k).h[0]) for draw, k in zip(draws, ks, strict=True)]
        users = User(self.share, told[0], ks[0]), User(1 - self.share, told[1], ks[1])
        views = views_of(users, noise_variance(draws[0].given_snr_db))
        return (
            ToEncode(images[0], views[0].state, ratio),
            ToEncode(images[1], views[1].state, ratio),
        )


class _Air:
    """Both frames as they are sent and received, and what the receiver does with them."""

    def __init__(
        self, sharing: Sharing, asked: tuple[ToEncode, ToEncode], draws: tuple[Draw, Draw]
    ) -> None:
        self._sharing, self._asked, self._draws = sharing, asked, draws
        encode = sharing.link.encoder.encode
        self.signals: tuple[Signal[np.ndarray], Signal[np.ndarray]] = (
            encode(asked[0]),
            encode(asked[1]),
        )
        ks = len(self.signals[0].symbols), len(self.signals[1].symbols)
        self.users = users_of(sharing.share, draws, ks)
        self.n0 = noise_variance(draws[0].given_snr_db)
        self.first = stronger(self.users)
        self._codes = [scrambling(i if sharing.scramble else 0, k) for i, k in enumerate(ks)]
        noise = self._noise("noise", max(ks)) * np.float32(noise_variance(draws[0].snr_db) ** 0.5)
        sent = [code.done(s.symbols) for code, s in zip(self._codes, self.signals, strict=True)]
        self.received = superposed(self.users, sent) + noise
        self._sent_first = sent[self.first]

    def together(self, i: int) -> View:
        """Of user i, with all of the other one."""
        return View.of(self.users[i], self.users[1 - i], self.n0)

    def given(self, i: int, view: View, symbols: np.ndarray) -> ToDecode:
        heard = view.heard(symbols, self._codes[i])
        signal, asked = self.signals[i], self._asked[i]
        return given_to_decoder(heard, self._sharing.link.equalizer, asked.size, signal.side)

    def without_first(self) -> Remaining:
        """What is left in the channel uses that both have sent in."""
        cancel, view = self._sharing.cancel, self.together(1 - self.first)
        received = self.received[: view.overlap]
        if cancel == "none":
            return Remaining(received, view.interference)
        if cancel == "genie":
            truth = self._sent_first[: view.overlap]
            return Remaining(received - self._as_received(truth), 0.0)
        estimate = self._encoded_again(self.received)[: view.overlap]
        if cancel == "plain":
            return Remaining(received - estimate, 0.0)
        known = view.user.energy + self.n0
        probe = self._noise("probe", view.overlap) * np.float32((PROBE * known) ** 0.5)
        nudged = self.received.copy()
        nudged[: view.overlap] += probe
        leak = leak_of(estimate, self._encoded_again(nudged)[: view.overlap], probe)
        return cancelled(received, estimate, leak, known)

    def _encoded_again(self, received: np.ndarray) -> np.ndarray:
        """(K,) what the first user's image, as it is decoded, would have arrived as."""
        i, link = self.first, self._sharing.link
        pixels = link.decoder.decode(self.given(i, self.together(i), received))
        asked = self._asked[i]
        symbols = link.encoder.encode(ToEncode(pixels, asked.state, asked.ratio)).symbols
        if len(symbols) != self.users[i].k:
            raise SettingsError(
                "this codec sends another number of symbols for an image that was decoded than "
                "for the one that was sent, so that it cannot be cancelled; take cancel=none."
            )
        return self._as_received(self._codes[i].done(symbols))

    def _as_received(self, symbols: np.ndarray) -> np.ndarray:
        """Symbols of the first user behind its power and gain."""
        arrived: np.ndarray = np.complex64(self.users[self.first].amplitude) * symbols
        return arrived

    def _noise(self, name: str, n: int) -> np.ndarray:
        """(n,) complex64 of unit variance, of the first user's frame."""
        draw = self._draws[0]
        return draw.medium.noise(draw.key, name, draw.point, n)


def sinr_db_of(sent: np.ndarray, symbols: np.ndarray) -> float:
    """Of equalised symbols against those that were sent, (K,) complex64."""
    gain = np.vdot(sent, symbols) / np.vdot(sent, sent)
    error = symbols - gain * sent
    signal = abs(gain) ** 2 * np.vdot(sent, sent).real
    return float(10 * np.log10(signal / max(float(np.vdot(error, error).real), 1e-30)))
