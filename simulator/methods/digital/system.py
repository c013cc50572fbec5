"""Source codec and channel as methods: HEVC, JPEG 2000 or AVIF over LDPC, or over capacity.

    K uses --scheme--> information bits --fit--> payload --transmit--> payload, or outage
    K uses --capacity--> error-free bits --fit--> payload, or outage

In an outage the image has its mean colour everywhere. Those 24 bits are free side information, as
the image's size is: they flatter the digital systems, and ``side_bits`` of the details says so.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from simulator.chain import Draw
from simulator.errors import SettingsError
from simulator.jscc.rates import layout_of
from simulator.methods.digital import frame, transmission
from simulator.methods.digital.block import Block
from simulator.methods.digital.capacity import bits_of
from simulator.methods.digital.codes import make_block
from simulator.methods.digital.fit import Fit, Fitter, decode, psnr_of
from simulator.methods.digital.mcs import ALL, Scheme, choose_mcs
from simulator.methods.digital.modulation import Bits, Mapper
from simulator.methods.digital.source import DamagedPayload
from simulator.methods.digital.success import mean_success, success
from simulator.methods.method import Method, Point, Sent
from simulator.metrics.limits import capped

Pixels = NDArray[np.uint8]
Known = TypeVar("Known", bound=Scheme)
SIDE_BITS = 24
NOTHING: Mapping[str, Any] = {}
NOT_FITTED, NOT_DECODED = "does not fit", "not decoded"


def channel_uses(image: Pixels, point: Point) -> int:
    """K of the JSCC codecs at this bandwidth ratio. Raises ``SettingsError`` at another ratio."""
    return layout_of(point.cbr, (image.shape[0], image.shape[1])).k


def mean_color(image: Pixels) -> Pixels:
    """What an outage shows."""
    color = np.rint(image.reshape(-1, 3).mean(axis=0)).astype(np.uint8)
    return np.broadcast_to(color, image.shape).copy()


def outage(image: Pixels, k: int, reason: str, details: dict[str, Any], rounds: int = 1) -> Sent:
    details = {**details, "outage_reason": reason}
    return Sent(mean_color(image), k, outage=True, rounds=rounds, details=details)


def about(fit: Fit | None) -> dict[str, Any]:
    """What was coded, for the row. ``bits``: of the payload, its header byte included."""
    if fit is None:
        return {"bits": 0, "side_bits": SIDE_BITS}
    return {
        "bits": 8 * len(fit.payload),
        "side_bits": SIDE_BITS,
        "source_psnr": capped(fit.psnr),
        "source_scale": fit.scale,
        "source_quality": fit.quality,
        "source_variant": fit.variant,
    }


class LdpcMethod(Method):
    """A source codec, a channel code and a scheme that a subclass chooses.

    ``code``: as ``make_block`` knows it. The details hold ``mcs``, the bits of the budget and of
    the payload, and ``outage_reason`` where there is one. ``most_rounds``: equal parts of the
    channel uses, of which those that are not needed are not taken.
    """

    most_rounds = 1

    def __init__(self, name: str, label: str, fitter: Fitter, code: str) -> None:
        self.name, self.label = name, label
        self.fitter, self.code = fitter, code

    @abstractmethod
    def choose(self, image: Pixels, point: Point, draw: Draw, k: int) -> Scheme:
        """The scheme. Of the draw it may use what the transmitter is allowed to know."""

    def block(self, scheme: Scheme, k: int) -> Block:
        return make_block(self.code, scheme.coded(k), scheme.rate)

    def fit(self, image: Pixels, scheme: Scheme, k: int) -> Fit | None:
        information = self.block(scheme, k).information
        return self.fitter.fit(image, frame.payload_bytes(information))

    def send(self, image: Pixels, point: Point, draw: Draw) -> Sent:
        k = channel_uses(image, point) // self.most_rounds
        scheme = self.choose(image, point, draw, k)
        block, fit = self.block(scheme, k), self.fit(image, scheme, k)
        details = {"mcs": str(scheme), "budget_bits": block.information, **about(fit)}
        if fit is None:
            return outage(image, k, NOT_FITTED, details)
        bits = frame.pack(fit.payload, block.information)
        payload, rounds = self.arrived(block, scheme.modulation, bits, draw)
        if payload == fit.payload:  # decoding it again would give the same pixels
            return Sent(fit.pixels, rounds * k, rounds=rounds, details=details)
        try:
            # A wrong frame that the CRC lets through is shown as it is.
            pixels = decode(self.fitter.codec, payload or b"", (image.shape[0], image.shape[1]))
        except DamagedPayload:
            return outage(image, rounds * k, NOT_DECODED, details, rounds)
        return Sent(pixels, rounds * k, rounds=rounds, details=details)

    def arrived(
        self, block: Block, modulation: Mapper, bits: Bits, draw: Draw
    ) -> tuple[bytes | None, int]:
        """The payload where the CRC agrees, and the rounds that were taken."""
        return frame.unpack(transmission.send(block, modulation, bits, draw)), 1


class FixedMcs(LdpcMethod):
    """The scheme that the average SNR gets (``choose_mcs``), as in the paper."""

    def choose(self, image: Pixels, point: Point, draw: Draw, k: int) -> Scheme:
        return choose_mcs(draw.given_snr_db)


class BestMcs(LdpcMethod):
    """The envelope: of all schemes the one with the best expected PSNR of this image.

    Expected over the channel's gains and noise, p(success) PSNR + (1 - p) PSNR of the mean colour;
    p is a statistic of the operating point, and this transmission's own gain and noise are unknown.
    """

    def choose(self, image: Pixels, point: Point, draw: Draw, k: int) -> Scheme:
        self.check(point, draw)
        return self.best(image, k, lambda mcs: success(draw, self.code, mcs, k), ALL)

    def check(self, point: Point, draw: Draw) -> None:
        """Raises ``SettingsError`` where no scheme is known to be best."""
        if point.channel != "awgn" and draw.medium.settings.coherence_time:
            raise SettingsError(
                "which scheme is best is known where an image has one gain, not under a coherence "
                "time; take a method with a fixed scheme."
            )

    def best(
        self, image: Pixels, k: int, probability: Callable[[Known], float], schemes: Sequence[Known]
    ) -> Known:
        """Of ``schemes``, by rising efficiency."""
        failed = capped(psnr_of(mean_color(image), image))
        best, best_psnr, safest = schemes[0], failed, 0.0
        # From the most efficient down: what is not safer than a richer scheme cannot be better.
        for scheme in reversed(schemes):
            p = probability(scheme)
            if p <= safest:
                continue
            safest = p
            fit = self.fit(image, scheme, k)
            expected = p * capped(fit.psnr) + (1 - p) * failed if fit else failed
            if expected > best_psnr:
                best, best_psnr = scheme, expected
            if p == 1:
                break
        return best


class AdaptiveMcs(BestMcs):
    """The envelope of a transmitter that knows h, as a JSCC encoder is."""

    def check(self, point: Point, draw: Draw) -> None:
        """Raises ``SettingsError`` where the transmitter does not know h."""
        if point.channel != "awgn" and draw.medium.settings.csit == "average":
            raise SettingsError(
                "a scheme for each gain needs a transmitter that knows it, and CSIT is the "
                "average; take a method with a fixed scheme."
            )

    def choose(self, image: Pixels, point: Point, draw: Draw, k: int) -> Scheme:
        self.check(point, draw)
        h = draw.csit(k).h[None]
        return self.best(image, k, lambda mcs: mean_success(draw, self.code, mcs, k, h), ALL)


class CapacityMethod(Method):
    """A source codec and floor(K C) bits that arrive without error.

    ``rate``: C in bits a use, of the draw and K.
    """

    def __init__(
        self, name: str, label: str, fitter: Fitter, rate: Callable[[Draw, int], float]
    ) -> None:
        self.name, self.label = name, label
        self.fitter, self.rate = fitter, rate

    def send(self, image: Pixels, point: Point, draw: Draw) -> Sent:
        k = channel_uses(image, point)
        return error_free(self.fitter, image, bits_of(k, self.rate(draw, k)), k)


def error_free(
    fitter: Fitter, image: Pixels, bits: int, k: int, more: Mapping[str, Any] = NOTHING
) -> Sent:
    """The result of an image whose bits all arrive; ``more``: details for the row."""
    fit = fitter.fit(image, bits // 8)
    details = {"budget_bits": bits, **about(fit), **more}
    if fit is None:
        return outage(image, k, NOT_FITTED, details)
    return Sent(fit.pixels, k, details=details)
