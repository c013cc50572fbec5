"""What the learned methods share: codecs, and how an image arrives through one of them.

image -codec, gain and noise of the draw-> Arrived(preview, csi)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulator.errors import SettingsError
from simulator.jscc.chain import transmit
from simulator.jscc.checkpoint import load_codec
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.methods.method import Context, Draw, Point


@dataclass(frozen=True)
class Arrived:
    """A JSCC reconstruction, (1, 3, H, W) in [0, 1]; the state both ends knew; channel uses."""

    preview: Tensor
    csi: Csi
    k: int
    codec: JsccCodec


class Codecs:
    """Codec folders, of which the first that has a bandwidth ratio serves it.

    A ``cnn`` has one ratio a model, so that a curve over ratios takes several folders. Raises
    ``ModelError`` where a folder cannot be loaded.
    """

    def __init__(self, folders: Sequence[str], device: str = "cpu") -> None:
        self.device = device
        self.codecs = [load_codec(folder, device).requires_grad_(False) for folder in folders]

    def at(self, ratio: Fraction) -> JsccCodec:
        """Raises ``SettingsError`` where no codec has the ratio."""
        for codec in self.codecs:
            if ratio in codec.bandwidth_ratios:
                return codec
        known = sorted({r for codec in self.codecs for r in codec.bandwidth_ratios})
        raise SettingsError(
            f"no codec of this method has bandwidth ratio {ratio}; they have "
            f"{', '.join(map(str, known))}."
        )

    @torch.no_grad()
    def send(self, image: NDArray[np.uint8], point: Point, draw: Draw) -> Arrived:
        """An (H, W, 3) image through equations (5), (2), (3), (4), (5), CSI known to both ends.

        The preview is rounded to 8 bits, as the receiver's is.
        """
        codec = self.at(point.cbr)
        height, width = image.shape[:2]
        k = codec.layout(point.cbr, (height, width)).k
        csi = Csi.of(point.snr_db, draw.h, device=self.device)
        noise = torch.tensor(draw.noise[:k], device=self.device)[None]
        preview = transmit(codec, as_batch(image, self.device), csi, csi, noise, point.cbr)
        return Arrived((preview * 255).round() / 255, csi, k, codec)


def codecs_of(context: Context, codec: str) -> Codecs:
    """``codec``: folders joined by ``+``. Raises ``ModelError``, and ``SettingsError`` for an
    equaliser that these methods have not."""
    if context.equalizer != "zero-forcing":
        raise SettingsError(
            f"the learned methods equalise by zero forcing, not by {context.equalizer}; "
            "leave them out, or leave the equalizer as it is."
        )
    return Codecs(folders_of(codec), context.device)


def folders_of(codec: str) -> list[str]:
    """Codec folders as an option names them, joined by ``+``."""
    return codec.split("+")


def as_batch(image: NDArray[np.uint8], device: str) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) in [0, 1]."""
    return torch.tensor(image, device=device).permute(2, 0, 1)[None].float() / 255


def as_pixels(image: Tensor) -> NDArray[np.uint8]:
    """(1, 3, H, W) in [0, 1] -> (H, W, 3) uint8."""
    scaled = (image[0].detach() * 255).round().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).cpu().numpy())
