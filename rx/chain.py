"""From received symbols to the first image.

received -least squares, where CSIR is estimated-> h -equalise (4)-> decode (5) -> preview

Where the preview has a decoder of its own (``rx.preview``), the codec's decodes the image that
is refined: what pleases the eye is not the best condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from simulator.link.clock import Clock
from simulator.link.messages import Frame, WireError, symbols_of
from simulator.phy.equalize import equalize, equalize_mmse
from simulator.phy.pilots import block_of_symbols, estimate_gains


@dataclass(frozen=True)
class Medium:
    """What WELCOME says about fading blocks and pilots."""

    coherence_time: int = 0
    pilots_per_block: int = 0


class Decoder(Protocol):
    """(K,) equalised symbols -> (H, W, 3) uint8."""

    def decode(
        self, symbols: np.ndarray, snr_db: float, h: complex, size: tuple[int, int]
    ) -> np.ndarray: ...


class TorchDecoder:
    """The decoder of a codec folder, one image at a time, so that previews are bit-equal."""

    def __init__(self, codec: str, device: str) -> None:
        from simulator.jscc.checkpoint import load_codec

        self.device = device
        self._codec = load_codec(codec, device)
        # The first call of a library is its slowest: it must not be a frame's.
        size = (64, 64)
        k = self._codec.layout(self._codec.bandwidth_ratio, size).k
        self.decode(np.ones(k, np.complex64), 10.0, 1, size)

    def decode(
        self, symbols: np.ndarray, snr_db: float, h: complex, size: tuple[int, int]
    ) -> np.ndarray:
        import torch

        from simulator.jscc.csi import Csi

        with torch.inference_mode():
            batch = torch.tensor(symbols, device=self.device)[None]
            image = self._codec.decode(batch, Csi.of(snr_db, h, device=self.device), size)
            pixels = (image[0] * 255).round().to(torch.uint8).permute(1, 2, 0)
        return np.ascontiguousarray(pixels.cpu().numpy())


class NullDecoder:
    """One grey; no torch. For measuring the link alone."""

    def decode(
        self, symbols: np.ndarray, snr_db: float, h: complex, size: tuple[int, int]
    ) -> np.ndarray:
        return np.full((*size, 3), 128, np.uint8)


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
    equalize_s: float
    decode_s: float


def gains_of(frame: Frame, received: np.ndarray, part: Any, medium: Medium) -> np.ndarray:
    """(blocks,) gains: given beside the frame, or estimated from its pilots."""
    if frame.pilots:
        return estimate_gains(received[: frame.pilots], medium.pilots_per_block)
    if not len(part) or len(part) % 8:
        raise WireError("bad-payload", "a FRAME without pilots needs the gains of its blocks")
    return np.frombuffer(part, dtype="<c8")


def receive_preview(
    frame: Frame,
    parts: Sequence[Any],
    medium: Medium,
    equalizer: Literal["zero-forcing", "mmse"],
    decoder: Decoder,
    clock: Clock,
) -> Preview:
    """The JSCC reconstruction of a FRAME. Raises ``WireError`` for a payload that does not fit."""
    began = clock()
    assert frame.air is not None
    snr_db = frame.air.snr_db
    received = symbols_of(frame, parts[0])
    h = gains_of(frame, received, parts[1], medium)
    payload = received[frame.pilots :]
    if len(h) == 1:
        each: Any = h
        gain = complex(h[0])
    else:
        block = block_of_symbols(frame.k, medium.coherence_time, medium.pilots_per_block)
        if block[-1] >= len(h):
            raise WireError("bad-payload", f"{len(h)} gains for {block[-1] + 1} blocks")
        each = h[block]
        gain = complex(np.sqrt(np.mean(np.abs(each) ** 2)))
    if equalizer == "mmse":
        symbols = equalize_mmse(payload, each, np.float32(10 ** (-snr_db / 10)))
    else:
        symbols = equalize(payload, each)
    equalized = clock()
    pixels = decoder.decode(symbols, snr_db, gain, (frame.height, frame.width))
    return Preview(pixels, symbols, snr_db, gain, equalized - began, clock() - equalized)


def condition_of(preview: Preview, decoders: Decoders) -> np.ndarray:
    """The image to refine, (H, W, 3) uint8."""
    if decoders.condition is None:
        return preview.pixels
    size = (preview.pixels.shape[0], preview.pixels.shape[1])
    return decoders.condition.decode(preview.symbols, preview.snr_db, preview.h, size)
