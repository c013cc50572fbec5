"""From received symbols to the first image.

    received -least squares, where CSIR is estimated-> Heard -equalise (4)-> decode (5) -> preview

Where the preview has a decoder of its own (``rx.preview``), the codec's decodes the image that
is refined: what pleases the eye is not the best condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from simulator.jscc.folder import WEIGHTLESS
from simulator.link.clock import Clock
from simulator.link.messages import Arrival, WireError, symbols_of
from simulator.phy.pilots import Blocks
from simulator.phy.reception import Equalizer, hear
from simulator.phy.state import ChannelState


class Decoder(Protocol):
    """(K,) equalised symbols of all rounds -> (H, W, 3) uint8. ``noise_variance``: (K,), where
    gains differ; ``side``: the side information of the codec."""

    def decode(
        self,
        symbols: np.ndarray,
        state: ChannelState,
        size: tuple[int, int],
        noise_variance: np.ndarray | None = None,
        side: bytes = b"",
    ) -> np.ndarray: ...


class NullDecoder:
    """One grey; no torch. For measuring the link alone."""

    def decode(
        self,
        symbols: np.ndarray,
        state: ChannelState,
        size: tuple[int, int],
        noise_variance: np.ndarray | None = None,
        side: bytes = b"",
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
    state: ChannelState
    noise_variance: np.ndarray | None
    side: bytes
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
    try:
        heard = hear(received, h, frame.pilots, blocks, frame.air.snr_db, frame.rounds)
    except ValueError as error:
        raise WireError("bad-payload", str(error)) from None
    symbols, noise = heard.equalised(equalizer), heard.noise_variance(equalizer)
    equalized = clock()
    side, size = bytes(parts[2]), (frame.height, frame.width)
    pixels = decoder.decode(symbols, heard.state, size, noise, side)
    took = (equalized - began, clock() - equalized)
    return Preview(pixels, symbols, heard.state, noise, side, *took)


def condition_of(preview: Preview, decoders: Decoders) -> np.ndarray:
    """The image to refine, (H, W, 3) uint8."""
    if decoders.condition is None:
        return preview.pixels
    size = (preview.pixels.shape[0], preview.pixels.shape[1])
    noise = preview.noise_variance
    return decoders.condition.decode(preview.symbols, preview.state, size, noise, preview.side)
