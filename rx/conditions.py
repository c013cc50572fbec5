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
    ``sketch``: (B, C_s, H_l, W_l), of ``rx.sketch``; None where the control module takes none, or
    nothing is known.
    """

    spatial_features: Tensor
    text_features: Tensor
    csi: Csi | None
    sketch: Tensor | None = None

    def to(self, device: str | torch.device, dtype: torch.dtype) -> Conditions:
        """Features in ``dtype``. The channel state stays fp32: half precision rounds its SNR."""
        return Conditions(
            self.spatial_features.to(device, dtype),
            self.text_features.to(device, dtype),
            None if self.csi is None else self.csi.to(device),
            None if self.sketch is None else self.sketch.to(device, dtype),
        )

    def crop(self, top: int, left: int, height: int, width: int) -> Conditions:
        """The conditions of one tile, in latent cells."""
        tile = (..., slice(top, top + height), slice(left, left + width))
        sketch = None if self.sketch is None else self.sketch[tile]
        return Conditions(self.spatial_features[tile], self.text_features, self.csi, sketch)

    def rows(self, which: slice) -> Conditions:
        """The conditions of some images of the batch."""
        csi = None if self.csi is None else Csi(self.csi.snr_db[which], self.csi.h[which])
        sketch = None if self.sketch is None else self.sketch[which]
        return Conditions(self.spatial_features[which], self.text_features[which], csi, sketch)
