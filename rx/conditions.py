"""What the denoiser knows about an image: c = {f_v, f_t, h, snr} (equation 9)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simulator.jscc.csi import Csi

# What an ablation can switch off, by name.
CONDITIONS = ("spatial", "snr", "h", "caption")


@dataclass(frozen=True)
class Conditions:
    """The conditions of a batch.

    ``spatial_features``: f_v, (B, C_l, H_l, W_l), a latent of the VAE (equation 7).
    ``text_features``: f_t, (B, T, d), from the text encoder (equation 8).
    ``csi``: (B,) channel states in fp32; None where the control module is not told them.
    """

    spatial_features: Tensor
    text_features: Tensor
    csi: Csi | None

    def to(self, device: str | torch.device, dtype: torch.dtype) -> Conditions:
        """Features in ``dtype``. The channel state stays fp32: half precision rounds its SNR."""
        return Conditions(
            self.spatial_features.to(device, dtype),
            self.text_features.to(device, dtype),
            None if self.csi is None else self.csi.to(device),
        )

    def crop(self, top: int, left: int, height: int, width: int) -> Conditions:
        """The conditions of one tile, in latent cells."""
        tile = self.spatial_features[..., top : top + height, left : left + width]
        return Conditions(tile, self.text_features, self.csi)

    def rows(self, which: slice) -> Conditions:
        """The conditions of some images of the batch."""
        csi = None if self.csi is None else Csi(self.csi.snr_db[which], self.csi.h[which])
        return Conditions(self.spatial_features[which], self.text_features[which], csi)
