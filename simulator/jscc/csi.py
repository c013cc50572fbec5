"""The channel state that a codec is conditioned on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from simulator.errors import SettingsError
from simulator.phy.state import ChannelState

if TYPE_CHECKING:
    import torch

Gains = complex | Sequence[complex] | np.ndarray


@dataclass(frozen=True)
class Csi:
    """Channel state information of a batch of images.

    ``snr_db``: (B,) float, average Es/N0 per complex symbol, in dB.
    ``h``: (B,) or (B, M) complex, the gains of each image: M = 1, the same as (B,), where one holds
    for the whole image; else one for each block. 1 on AWGN and where it is not known.
    ``block``: (K,), which of M gains each symbol has; None where that is not told.
    ``mixing``: (B, N_r, N) complex, from N streams to N_r antennas, behind whose receiver the
    symbols are; None where there are none.
    """

    snr_db: torch.Tensor
    h: torch.Tensor
    block: torch.Tensor | None = None
    mixing: torch.Tensor | None = None

    @property
    def gain(self) -> torch.Tensor:
        """(B,) complex, for codecs that want one number: h itself where M = 1, else the root mean
        square of ``abs(h)``."""
        if self.h.ndim == 1:
            return self.h
        if self.h.shape[1] == 1:
            return self.h[:, 0]
        return self.h.abs().square().mean(dim=1).sqrt() + 0j

    @staticmethod
    def of(
        snr_db: float, h: Gains = 1.0, batch: int = 1, device: str | torch.device = "cpu"
    ) -> Csi:
        """The same state for a whole batch; ``h``: a number, or M of them. Raises
        ``SettingsError`` for what is not finite."""
        import torch

        if not isinstance(batch, int) or batch < 1:
            raise SettingsError(f"a channel state of {batch!r} images: give their number, from 1.")
        if not math.isfinite(snr_db):
            raise SettingsError(f"snr_db = {snr_db}: give a finite value.")
        given = np.array(h, np.complex64)  # torch wants no memory that cannot be written to
        if given.ndim > 1 or not given.size:
            raise SettingsError(
                f"h of shape {given.shape}: give one gain, or those of the blocks in a row."
            )
        if not np.isfinite(given).all():
            raise SettingsError(f"h = {h}: give finite values.")
        gains = torch.as_tensor(given, device=device)
        return Csi(
            torch.full((batch,), float(snr_db), device=device),
            gains.expand(batch, *gains.shape).clone(),
        )

    @staticmethod
    def of_state(
        state: ChannelState,
        device: str | torch.device = "cpu",
        block: np.ndarray | None = None,
        mixing: np.ndarray | None = None,
    ) -> Csi:
        """Of one frame; ``mixing``: (N_r, N)."""
        import torch

        h = complex(state.h[0]) if len(state.h) == 1 else state.h
        csi = Csi.of(state.snr_db, h, device=device)
        if block is not None:
            csi = replace(csi, block=torch.as_tensor(block, device=device))
        if mixing is not None:
            csi = replace(csi, mixing=torch.as_tensor(mixing, device=device)[None])
        return csi

    def to(self, device: str | torch.device) -> Csi:
        block, mixing = (
            None if each is None else each.to(device) for each in (self.block, self.mixing)
        )
        return Csi(self.snr_db.to(device), self.h.to(device), block, mixing)
