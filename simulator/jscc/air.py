"""The channel of a batch of images, differentiable: equations (3) and (4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from simulator.jscc.csi import Csi
from simulator.jscc.signal import Round
from simulator.phy.equalize import equalize
from simulator.phy.propagation import apply_channel


@dataclass(frozen=True)
class Air:
    """``encoder``: what the transmitter knows before it sends; ``decoder``: the true gains.

    ``noise``: (B, N), unit-variance CN(0, 1), scaled here; N is at least the symbols of all rounds.
    ``gains``: (B, >= K), a factor of the true gain for each symbol, of mean square 1, the same in
    every round. ``seed``: of what a codec draws itself while it is trained. ``clip``: the largest
    amplitude that the antenna sends, over the root mean square; 0: any. ``scramble``: over
    multipath, as of ``simulator.phy.multipath.Multipath``.
    """

    encoder: Csi
    decoder: Csi
    noise: torch.Tensor
    gains: torch.Tensor | None = None
    seed: int = 0
    clip: float = 0.0
    scramble: bool = False

    def send(self, symbols: torch.Tensor, number: int = 0) -> Round[torch.Tensor]:
        """(B, K) symbols of round ``number``, and how they are received, equalised. Every round
        has K symbols and noise of its own."""
        k = symbols.shape[1]
        sigma = 10 ** (-self.decoder.snr_db / 20)[:, None]
        h, variance = self.decoder.gain[:, None], None
        if self.gains is not None:
            h = h * self.gains[:, :k]
            variance = sigma**2 / h.abs().square().clamp_min(1e-12)
        noise = self.noise[:, number * k : (number + 1) * k] * sigma
        arrived = apply_channel(self.radiated(symbols), h, noise)
        return Round(symbols, equalize(arrived, h), variance)

    def radiated(self, symbols: torch.Tensor) -> torch.Tensor:
        """(B, K) of unit power, as the transmitter's amplifier leaves them."""
        return clipped(symbols, self.clip) if self.clip else symbols


def clipped(samples: torch.Tensor, ratio: float) -> torch.Tensor:
    """Amplitudes end at ``ratio``, as ``simulator.phy.impairments.Clip`` has it."""
    return samples * (ratio / samples.abs().clamp_min(ratio))
