"""The best picture of an image that fits into a budget of bytes.

    image --shrink--> encode at the highest quality that fits --> payload --> decode, enlarge

Quality is searched at the full size first; where even the lowest does not fit, and as long as it
gains PSNR, at smaller sizes. One byte before the codec's payload says the size and the variant.
"""

from __future__ import annotations

import hashlib
import math
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.methods.digital.source import DamagedPayload, SourceCodec, resized

Pixels = NDArray[np.uint8]
Size = tuple[int, int]

#: Factors that the sides are divided by. The first byte of a payload has four bits for one.
SCALES = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)
#: Smaller sizes tried without a gain before the search ends.
PATIENCE = 2
HEADER_BYTES = 1
#: Images whose payloads are remembered: many operating points share them.
IMAGES = 32
#: Of which the last ones keep their pixels, too.
FITS = 16


@dataclass(frozen=True)
class Fit:
    """``payload``: header byte and the codec's bytes. ``pixels``: what it decodes to, of the
    image's size. ``psnr``: of them, in dB."""

    payload: bytes
    pixels: Pixels
    psnr: float
    scale: float
    quality: int
    variant: str


def psnr_of(pixels: Pixels, image: Pixels) -> float:
    mse = float(np.mean((pixels.astype(np.float64) - image) ** 2))
    return float(10 * np.log10(255**2 / mse)) if mse else float("inf")


def scaled(size: Size, scale: float) -> Size:
    """(H, W) after division, a pixel at least."""
    return max(1, round(size[0] / scale)), max(1, round(size[1] / scale))


def decode(codec: SourceCodec, payload: bytes, size: Size) -> Pixels:
    """The receiver's side: a payload to an image of ``size`` (H, W). Raises ``DamagedPayload``."""
    if not payload:
        raise DamagedPayload("nothing was sent")
    scale, variant = divmod(payload[0], 16)
    if variant >= len(codec.variants):
        raise DamagedPayload(f"{codec.label} has no variant {variant}")
    small = scaled(size, SCALES[scale])
    return resized(codec.decode(payload[HEADER_BYTES:], small, codec.variants[variant]), size)


def highest(
    log_bytes: Callable[[int], float], limit: float, qualities: int, growth: float
) -> int | None:
    """The highest quality of at most ``limit``, None where 0 is over it already.

    ``log_bytes`` rises, and is expensive: it is asked where a straight line through the ends of
    the bracket meets the limit (``growth`` is the slope while there is one end), and in the
    middle where that has not narrowed it in three steps.
    """
    low, high = 0, qualities
    below, above = log_bytes(0), None
    if below > limit:
        return None
    step = 0
    while high - low > 1:
        slope = growth if above is None else (above - below) / (high - low)
        ahead = int((limit - below) / slope) if slope > 0 else 1
        guess = low + ahead if step < 3 else (low + high) // 2
        guess = min(max(guess, low + 1), high - 1)
        if (value := log_bytes(guess)) <= limit:
            low, below = guess, value
        else:
            high, above = guess, value
        step += 1
    return low


@dataclass(frozen=True)
class Choice:
    """How an image is coded: index of the size, variant and quality."""

    scale: int
    variant: str
    quality: int


class Coded:
    """One image by one codec: every encoding is made once. Payloads are kept, pixels are not."""

    def __init__(self, codec: SourceCodec, scales: Sequence[float], image: Pixels) -> None:
        self.codec, self.scales, self.image = codec, scales, image
        self.size: Size = (image.shape[0], image.shape[1])
        self._payloads: dict[Choice, bytes] = {}
        self._psnrs: dict[Choice, float] = {}
        self._best: dict[int, Choice | None] = {}

    def best(self, budget: int) -> Choice | None:
        """The best of ``budget`` bytes, None where nothing fits."""
        if budget not in self._best:
            self._best[budget] = self._search(budget) if budget > HEADER_BYTES else None
        return self._best[budget]

    def fit(self, choice: Choice) -> Fit:
        payload = self._payload(choice)
        pixels = decode(self.codec, payload, self.size)
        scale = self.scales[choice.scale]
        return Fit(payload, pixels, self._psnr(choice), scale, choice.quality, choice.variant)

    def _search(self, budget: int) -> Choice | None:
        best: Choice | None = None
        worse = 0
        first, *others = self.codec.variants
        for scale in range(len(self.scales)):
            found = self._highest(scale, first, budget)
            if found and (best is None or self._psnr(found) > self._psnr(best)):
                best, worse = found, 0
            elif best:
                worse += 1
            if worse == PATIENCE:
                break
        if best is None:
            return None
        found_others = [self._highest(best.scale, variant, budget) for variant in others]
        return max([best, *filter(None, found_others)], key=self._psnr)

    def _highest(self, scale: int, variant: str, budget: int) -> Choice | None:
        """The highest quality that fits at one size, None where none does."""
        if scale > 0 and min(scaled(self.size, self.scales[scale])) < self.codec.min_side_px:
            return None

        def log_bytes(quality: int) -> float:
            return math.log(len(self._payload(Choice(scale, variant, quality))))

        quality = highest(log_bytes, math.log(budget), self.codec.qualities, self.codec.growth)
        return None if quality is None else Choice(scale, variant, quality)

    def _payload(self, choice: Choice) -> bytes:
        if choice not in self._payloads:
            small = resized(self.image, scaled(self.size, self.scales[choice.scale]))
            header = bytes([choice.scale * 16 + self.codec.variants.index(choice.variant)])
            coded = self.codec.encode(small, choice.quality, choice.variant)
            self._payloads[choice] = header + coded
        return self._payloads[choice]

    def _psnr(self, choice: Choice) -> float:
        if choice not in self._psnrs:
            pixels = decode(self.codec, self._payload(choice), self.size)
            self._psnrs[choice] = psnr_of(pixels, self.image)
        return self._psnrs[choice]


class Fitter:
    """Fits of the images seen last, by their pixels.

    ``shrinks``: whether smaller sizes may be tried; BPG in the literature is not shrunk.
    """

    def __init__(self, codec: SourceCodec, shrinks: bool = True) -> None:
        self.codec = codec
        self._scales = SCALES if shrinks else SCALES[:1]
        self._images: OrderedDict[bytes, Coded] = OrderedDict()
        self._fits: OrderedDict[tuple[bytes, Choice], Fit] = OrderedDict()
        self._last: tuple[weakref.ref[Pixels], bytes] | None = None

    def fit(self, image: Pixels, budget: int) -> Fit | None:
        """The best payload of at most ``budget`` bytes, None where nothing fits."""
        digest = self._digest(image)
        coded = self._images.pop(digest, None) or Coded(self.codec, self._scales, image)
        self._images[digest] = coded
        if len(self._images) > IMAGES:
            self._images.popitem(last=False)
        if (choice := coded.best(budget)) is None:
            return None
        fitted = self._fits.pop((digest, choice), None) or coded.fit(choice)
        self._fits[digest, choice] = fitted
        if len(self._fits) > FITS:
            self._fits.popitem(last=False)
        return fitted

    def _digest(self, image: Pixels) -> bytes:
        """An image is sent many times in a row, and hashed once."""
        if self._last is None or self._last[0]() is not image:
            digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
            self._last = weakref.ref(image), digest
        return self._last[1]
