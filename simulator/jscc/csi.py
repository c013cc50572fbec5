"""The channel state that a codec is conditioned on."""

from __future__ import annotations

import cmath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.errors import SettingsError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Csi:
    """Channel state information of a batch of images.

    ``snr_db``: (B,) float, average Es/N0 per complex symbol, in dB.
    ``h``: (B,) complex, the gain of the image; 1 on AWGN and where it is not known. Under a
    coherence time shorter than the image it is the root mean square of ``abs(h)``.
    """

    snr_db: torch.Tensor
    h: torch.Tensor

    @staticmethod
    def of(
        snr_db: float, h: complex = 1.0, batch: int = 1, device: str | torch.device = "cpu"
    ) -> Csi:
        """The same state for a whole batch. Raises ``SettingsError`` for what is not finite."""
        import torch

        if not isinstance(batch, int) or batch < 1:
            raise SettingsError(f"a channel state of {batch!r} images: give their number, from 1.")
        for name, value in (("snr_db", snr_db), ("h", h)):
            if not cmath.isfinite(value):
                raise SettingsError(f"{name} = {value}: give a finite value.")
        return Csi(
            torch.full((batch,), float(snr_db), device=device),
            torch.full((batch,), complex(h), dtype=torch.complex64, device=device),
        )

    def to(self, device: str | torch.device) -> Csi:
        return Csi(self.snr_db.to(device), self.h.to(device))
