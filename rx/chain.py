"""From received symbols to the first image.

    received -least squares, where CSIR is estimated-> Heard -equalise (4)-> decode (5) -> preview

Where the preview has a decoder of its own (``rx.preview``), the codec's decodes the image that
is refined: what pleases the eye is not the best condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from simulator.jscc.folder import WEIGHTLESS
from simulator.link.clock import Clock
from simulator.link.messages import Arrival, WireError, symbols_of
from simulator.phy.equalize import equalize, equalize_mmse
from simulator.phy.pilots import block_of_symbols, estimate_gains

Equalizer = Literal["zero-forcing", "mmse"]
TINY_POWER = np.float32(1e-12)  # of a gain: the receiver hears nothing


@dataclass(frozen=True)
class Blocks:
    """What WELCOME says about fading blocks and pilots."""

    coherence_time: int = 0
    pilots_per_block: int = 0


@dataclass(frozen=True)
class Heard:
    """What a receiver knows of a frame before it decodes.

    ``payload``: (K,) complex64 as it came; ``h``: (1,) or (K,) complex64, what the receiver takes
    for the gain of each symbol; ``snr_db``: as the channel gave it.
    """

    payload: np.ndarray
    h: np.ndarray
    snr_db: float

    @property
    def gain(self) -> complex:
        """The one gain that codecs see: h, or the root mean square over blocks."""
        if len(self.h) == 1:
            return complex(self.h[0])
        return complex(np.sqrt(np.mean(np.abs(self.h) ** 2)))

    def equalised(self, equalizer: Equalizer) -> np.ndarray:
        """(K,) complex64, equation (4) or its MMSE form."""
        if equalizer == "mmse":
            n0: Any = np.float32(10 ** (-self.snr_db / 10))
            symbols: np.ndarray = equalize_mmse(self.payload, self.h, n0)
            return symbols
        return equalize(self.payload, self.h)

    def noise_variance(self, equalizer: Equalizer) -> np.ndarray | None:
        """(K,) float32, of the noise in each symbol of ``equalised``; None under one gain, which
        says as much."""
        if len(self.h) == 1:
            return None
        n0 = np.float32(10 ** (-self.snr_db / 10))
        power: np.ndarray = np.abs(self.h) ** 2
        if equalizer == "mmse":
            power = (power + n0) ** 2 / np.maximum(power, TINY_POWER)
        variance: np.ndarray = n0 / np.maximum(power, TINY_POWER)
        return variance


def hear(received: np.ndarray, h: np.ndarray, p: int, blocks: Blocks, snr_db: float) -> Heard:
    """(P + K,) received symbols under (blocks,) gains; with pilots, ``h`` is not looked at.

    Raises ``WireError`` where there are fewer gains than blocks.
    """
    payload = received[p:]
    if p:
        h = estimate_gains(received[:p], blocks.pilots_per_block)
    if len(h) > 1:
        block = block_of_symbols(len(payload), blocks.coherence_time, blocks.pilots_per_block)
        if block[-1] >= len(h):
            raise WireError("bad-payload", f"{len(h)} gains for {block[-1] + 1} blocks")
        h = h[block]
    return Heard(payload, h, snr_db)


class Decoder(Protocol):
    """(K,) equalised symbols -> (H, W, 3) uint8. ``noise_variance``: (K,), where gains differ."""

    def decode(
        self,
        symbols: np.ndarray,
        snr_db: float,
        h: complex,
        size: tuple[int, int],
        noise_variance: np.ndarray | None,
    ) -> np.ndarray: ...


class NullDecoder:
    """One grey; no torch. For measuring the link alone."""

    def decode(
        self,
        symbols: np.ndarray,
        snr_db: float,
        h: complex,
        size: tuple[int, int],
        noise_variance: np.ndarray | None,
    ) -> np.ndarray:
        return np.full((*size, 3), 128, np.uint8)


def make_decoder(codec: str, device: str) -> Decoder:
    """The decoder of a codec folder, warm. Raises ``ModelError``."""
    if codec in WEIGHTLESS:
        return NullDecoder()
    from simulator.jscc.checkpoint import load_codec
    from simulator.jscc.ends import CodecEnds

    ends = CodecEnds(load_codec(codec, device), device)
    ends.warm_up()
    return ends


@dataclass(frozen=True)
class Decoders:
    """``preview``'s image is shown, ``condition``'s is refined; None: the same one."""

    preview: Decoder
    condition: Decoder | None = None


@dataclass(frozen=True)
class Preview:
    """(H, W, 3) uint8, and what the decoder was given: (K,) symbols and channel state."""

    pixels: np.ndarray
    symbols: np.ndarray
    snr_db: float
    h: complex
    noise_variance: np.ndarray | None
    equalize_s: float
    decode_s: float


def gains_beside(frame: Arrival, part: Any) -> np.ndarray:
    """(blocks,) gains that came beside a frame; none where its pilots are to say them."""
    if frame.pilots:
        return np.empty(0, np.complex64)
    if not len(part) or len(part) % 8:
        raise WireError("bad-payload", "an ARRIVAL without pilots needs the gains of its blocks")
    return np.frombuffer(part, dtype="<c8")


def receive_preview(
    frame: Arrival,
    parts: Sequence[Any],
    blocks: Blocks,
    equalizer: Equalizer,
    decoder: Decoder,
    clock: Clock,
) -> Preview:
    """The JSCC reconstruction of an ARRIVAL. Raises ``WireError`` where the payload is not one."""
    began = clock()
    received = symbols_of(frame, parts[0])
    h = gains_beside(frame, parts[1])
    heard = hear(received, h, frame.pilots, blocks, frame.air.snr_db)
    symbols, noise = heard.equalised(equalizer), heard.noise_variance(equalizer)
    equalized = clock()
    given = (symbols, heard.snr_db, heard.gain)
    pixels = decoder.decode(*given, (frame.height, frame.width), noise)
    return Preview(pixels, *given, noise, equalized - began, clock() - equalized)


def condition_of(preview: Preview, decoders: Decoders) -> np.ndarray:
    """The image to refine, (H, W, 3) uint8."""
    if decoders.condition is None:
        return preview.pixels
    size = (preview.pixels.shape[0], preview.pixels.shape[1])
    given = (preview.symbols, preview.snr_db, preview.h)
    return decoders.condition.decode(*given, size, preview.noise_variance)
