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
from simulator.jscc.beside import Beside
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.signal import Round, Signal, ToDecode, ToEncode
from simulator.phy.state import ChannelState
from simulator.tensors import as_pixels, as_tensor
from simulator.threads import one_thread


class CodecEnds:
    """Encoder and decoder of a codec in memory, on ``device``. ``half``: decode in bfloat16."""

    def __init__(self, codec: JsccCodec, device: str = "cpu", half: bool = False) -> None:
        self._codec, self._device, self._half = codec.to(device).eval(), device, half
        if half:  # the layout that processors convolve in bfloat16
            self._codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def k(self, size: Size, ratio: Fraction) -> int:
        """Symbols of an image, of all rounds. Raises ``SettingsError`` at a ratio that the codec
        does not have."""
        self._codec.check_ratio(ratio)
        return self._codec.k(ratio, size)

    @property
    def rounds(self) -> int:
        return self._codec.rounds

    @property
    def zero_forcing(self) -> bool:
        return self._codec.zero_forcing

    @property
    def ratios(self) -> tuple[Fraction, ...]:
        return self._codec.bandwidth_ratios

    @torch.inference_mode()
    def maps(self, pixels: Pixels, state: ChannelState, ratio: Fraction) -> np.ndarray:
        """(C, h, w) float32, before power normalisation. Raises ``SettingsError`` as ``k``."""
        self._codec.check_ratio(ratio)
        image = as_tensor(pixels, self._device)[None]
        return self._codec.maps(image, self._csi(state), ratio)[0].cpu().numpy()

    @torch.inference_mode()
    def modulated(self, maps: np.ndarray) -> np.ndarray:
        """(C, h, w) -> (K,) complex64 of mean power 1."""
        symbols = self._codec.modulate(self._codec.pack(self._batch(maps)))
        return symbols[0].cpu().numpy()

    @torch.inference_mode()
    def encode(self, given: ToEncode) -> Signal[np.ndarray]:
        """(K,) complex64 of mean power 1. Raises ``SettingsError`` as ``k``."""
        image = as_tensor(given.pixels, self._device)[None]
        before = [self._round(each) for each in given.heard]
        signal = self._codec.encode(image, self._csi(given.state), given.ratio, before)
        side = signal.side or self._codec.side_of(given.pixels, given.text)
        return Signal(signal.symbols[0].cpu().numpy(), side)

    def said(self, given: ToDecode) -> Beside:
        """What the side information says of the image itself. Raises ``SettingsError``."""
        return self._codec.said_in(given.side, given.size)

    @one_thread()
    @torch.inference_mode()
    def decode(self, given: ToDecode) -> Pixels:
        """(H, W, 3) uint8."""
        noise = None if given.noise_variance is None else self._batch(given.noise_variance)
        symbols = self._batch(given.symbols)
        csi = Csi.of_state(given.state, self._device, given.block, given.mixing)
        kind = torch.device(self._device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self._half):
            image = self._codec.decode(symbols, csi, given.size, noise, given.side)
        return as_pixels(image[0])

    @torch.inference_mode()
    def conditioned(self, state: ChannelState) -> ChannelState:
        """The state that all rounds together are worth; ``state`` where that is the same."""
        csi = self._csi(state)
        own = self._codec.conditioned(csi)
        if own is csi:
            return state
        return ChannelState(float(own.snr_db[0]), own.gain.cpu().numpy())

    def warm_up(self) -> None:
        """The first call of a library is its slowest: it must not be a frame's."""
        size, state, ratio = (64, 64), ChannelState(10.0), self._codec.bandwidth_ratio
        signal = Signal(np.ones(self.k(size, ratio), np.complex64))
        if self.rounds == 1:  # its encoder knows which side information its decoder needs
            ramp = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(*size, 3)
            signal = self.encode(ToEncode(ramp, state, ratio))
        self.decode(ToDecode(signal.symbols, state, size, side=signal.side))

    def _csi(self, state: ChannelState) -> Csi:
        return Csi.of_state(state, self._device)

    def _round(self, each: Round[np.ndarray]) -> Round[torch.Tensor]:
        noise = None if each.noise_variance is None else self._batch(each.noise_variance)
        return Round(self._batch(each.sent), self._batch(each.received), noise)

    def _batch(self, values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values, device=self._device)[None]
