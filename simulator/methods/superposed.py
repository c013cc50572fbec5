"""Two frames in this process on one medium at once, decoded one after the other.

    images -Encoder-> x_1, x_2 -scramble-> y = sqrt(P_1) h_1 x_1 + sqrt(P_2) h_2 x_2 + n
    y -``rx.successive``-> images of both users

Gains are those that each frame has alone; the noise is that of the first user's frame. Both ends
know the two gains as far as CSIT says them, so that the receiver encodes again as the transmitter
has encoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from channel.superposed import gain_of, received_of, told_of
from rx.successive import Arrived, Asked, Part, Successive
from simulator.chain import Draw, Link
from simulator.errors import SettingsError
from simulator.images import Pixels, check_pixels
from simulator.jscc.signal import Signal, ToEncode
from simulator.link.clock import monotonic
from simulator.phy.cancellation import Remaining
from simulator.phy.flat import Flat
from simulator.phy.superposition import Two, charges, scrambling, states_of, users_of

Cancel = Literal["measured", "plain", "none", "genie"]


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


def check_air(draw: Draw) -> None:
    """Raises ``SettingsError`` for a channel that two frames cannot be put on at once here."""
    if not isinstance(draw.law, Flat):
        raise SettingsError(
            f"superposed frames have one gain each, and {draw.point.channel} has more: take awgn, "
            f"rayleigh or rician."
        )
    if draw.point.snr_db is None:
        raise SettingsError("superposed frames have one SNR, and a trace has one for each.")
    if name := draw.medium.settings.unsuperposed:
        raise SettingsError(f"superposed frames are not computed under {name}; leave it out.")


def received_users(share: float, draws: tuple[Draw, Draw], ks: tuple[int, int]) -> Two:
    """As they are received. ``share``: P_1."""
    one, other = (gain_of(draw.medium, draw.key, draw.point) for draw in draws)
    return users_of(share, (one, other), ks)


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
        on_air = _Air(self, self._asked(images, ratio, draws), draws)
        part = on_air.part(wanted)
        pixels = self.link.decoder.decode(part.given)
        signal, draw, users = on_air.signals[wanted], draws[wanted], on_air.air.users
        return Superposed(
            pixels=pixels,
            k=len(signal.symbols),
            charged=charges((users[0].k, users[1].k))[wanted],
            side_uses=draw.medium.side_uses(draw.point, len(signal.side)),
            first=wanted == on_air.air.first,
            told_sinr_db=part.sinr_db,
            sinr_db=sinr_db_of(signal.symbols, part.given.symbols),
            seconds=monotonic() - began,
        )

    def _asked(
        self, images: tuple[Pixels, Pixels], ratio: Fraction, draws: tuple[Draw, Draw]
    ) -> tuple[ToEncode, ToEncode]:
        """What both encoders are given, of what CSIT says of both gains."""
        sizes = [(each.shape[0], each.shape[1]) for each in images]
        ks = self.link.encoder.k(sizes[0], ratio), self.link.encoder.k(sizes[1], ratio)
        one, other = (
            told_of(draw.medium, draw.key, draw.point, k) for draw, k in zip(draws, ks, strict=True)
        )
        states = states_of(self.share, (one, other), ks, draws[0].given_snr_db)
        return ToEncode(images[0], states[0], ratio), ToEncode(images[1], states[1], ratio)


class _Air:
    """Both frames as they are sent, and the receiver that has them."""

    def __init__(
        self, sharing: Sharing, asked: tuple[ToEncode, ToEncode], draws: tuple[Draw, Draw]
    ) -> None:
        link, draw = sharing.link, draws[0]
        self.signals: tuple[Signal[np.ndarray], Signal[np.ndarray]] = (
            link.encoder.encode(asked[0]),
            link.encoder.encode(asked[1]),
        )
        ks = len(self.signals[0].symbols), len(self.signals[1].symbols)
        users = received_users(sharing.share, draws, ks)
        codes = [scrambling(i if sharing.scramble else 0, k) for i, k in enumerate(ks)]
        self._sent = [code.done(s.symbols) for code, s in zip(codes, self.signals, strict=True)]
        received, _ = received_of(draw.medium, users, draw.key, draw.point, self._sent)
        one, other = (
            Asked(each.state, each.size, each.ratio, signal.side)
            for each, signal in zip(asked, self.signals, strict=True)
        )
        version = draw.medium.settings.draw_version
        arrived = Arrived(
            received, users, (one, other), draw.given_snr_db, draw.key, version, sharing.scramble
        )
        self.air = Successive(arrived, link.decoder, link.encoder, link.equalizer)
        self._cancel = sharing.cancel

    def part(self, wanted: int) -> Part:
        """What the decoder is given of user ``wanted``."""
        return self.air.strong if wanted == self.air.first else self.air.weak(self._left())

    def _left(self) -> Remaining:
        """What is left in the channel uses that both have sent in."""
        air = self.air
        view = air.together(1 - air.first)
        received = air.received[: view.overlap]
        if self._cancel == "none":
            return Remaining(received, view.interference)
        if self._cancel == "genie":
            truth = self._sent[air.first][: view.overlap]
            return Remaining(received - air.as_received(truth), 0.0)
        if self._cancel == "plain":
            return Remaining(received - air.estimate(air.strong_pixels)[: view.overlap], 0.0)
        return air.measured()


def sinr_db_of(sent: np.ndarray, symbols: np.ndarray) -> float:
    """Of equalised symbols against those that were sent, (K,) complex64."""
    gain = np.vdot(sent, symbols) / np.vdot(sent, sent)
    error = symbols - gain * sent
    signal = abs(gain) ** 2 * np.vdot(sent, sent).real
    return float(10 * np.log10(signal / max(float(np.vdot(error, error).real), 1e-30)))
