"""Both ends of a codec, as ``tx`` and ``rx`` have them: pixels and symbols instead of tensors.

    pixels -encode (5), (2)-> (K,) symbols;   (K,) equalised symbols -decode (5)-> pixels

One image at a time, and decoding on one thread, so that a preview has the same bits whatever else
waits, and however many receivers share the cores.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch

from simulator.images import Pixels, Size
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.tensors import as_pixels, as_tensor
from simulator.threads import one_thread


class CodecEnds:
    """Encoder and decoder of a codec in memory, on ``device``."""

    def __init__(self, codec: JsccCodec, device: str = "cpu") -> None:
        self._codec, self._device = codec.to(device).eval(), device

    def k(self, size: Size, ratio: Fraction) -> int:
        """Symbols of an image. Raises ``SettingsError`` at a ratio that the codec does not have."""
        self._codec.check_ratio(ratio)
        return self._codec.layout(ratio, size).k

    @torch.inference_mode()
    def encode(self, pixels: Pixels, snr_db: float, h: complex, ratio: Fraction) -> np.ndarray:
        """(K,) complex64 of mean power 1. Raises ``SettingsError`` as ``k``."""
        image = as_tensor(pixels, self._device)[None]
        symbols = self._codec.encode(image, self._csi(snr_db, h), ratio)
        encoded: np.ndarray = symbols[0].cpu().numpy()
        return encoded

    @one_thread()
    @torch.inference_mode()
    def decode(
        self,
        symbols: np.ndarray,
        snr_db: float,
        h: complex,
        size: Size,
        noise_variance: np.ndarray | None = None,
    ) -> Pixels:
        """(H, W, 3) uint8 of ``size`` from (K,) equalised symbols; ``noise_variance``: (K,), of
        each of them, where it is not that of the one gain ``h``."""
        batch = torch.tensor(symbols, device=self._device)[None]
        csi, noise = self._csi(snr_db, h), None
        if noise_variance is not None:
            noise = torch.tensor(noise_variance, device=self._device)[None]
        return as_pixels(self._codec.decode(batch, csi, size, noise)[0])

    def warm_up(self) -> None:
        """The first call of a library is its slowest: it must not be a frame's."""
        size = (64, 64)
        k = self._codec.layout(self._codec.bandwidth_ratio, size).k
        self.decode(np.ones(k, np.complex64), 10.0, 1, size)

    def _csi(self, snr_db: float, h: complex) -> Csi:
        return Csi.of(snr_db, h, device=self._device)
