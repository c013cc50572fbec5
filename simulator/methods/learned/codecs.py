"""What the learned methods share: codecs, and how an image arrives through one of them.

image -simulator.chain-> Arrived(preview, csi)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulator.chain import Draw, Link
from simulator.errors import SettingsError
from simulator.jscc.checkpoint import load_codec
from simulator.jscc.codec import JsccCodec, variance_of
from simulator.jscc.csi import Csi
from simulator.jscc.ends import CodecEnds
from simulator.methods.method import Context, Point
from simulator.phy.reception import Equalizer
from simulator.tensors import as_tensor


@dataclass(frozen=True)
class Arrived:
    """A JSCC reconstruction, (1, 3, H, W) in [0, 1], as its 8 bits say; the state that the receiver
    knows; channel uses; the symbols behind the equaliser, (1, K) complex64, and the variance of the
    noise in each, (1, K)."""

    preview: Tensor
    csi: Csi
    k: int
    codec: JsccCodec
    equalised: Tensor
    noise_variance: Tensor


class Codecs:
    """Codec folders, of which the first that has a bandwidth ratio serves it.

    A ``cnn`` has one ratio a model, so that a curve over ratios takes several folders. Raises
    ``ModelError`` where a folder cannot be loaded.
    """

    def __init__(
        self, folders: Sequence[str], device: str = "cpu", equalizer: Equalizer = "zero-forcing"
    ) -> None:
        self.device, self.equalizer = device, equalizer
        self.codecs = [load_codec(folder, device).requires_grad_(False) for folder in folders]

    @classmethod
    def of(cls, context: Context, codec: str) -> Codecs:
        """``codec``: folders joined by ``+``. Raises ``ModelError``."""
        return cls(folders_of(codec), context.device, context.equalizer)

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

    def link_at(self, ratio: Fraction) -> Link:
        """Both ends of the codec that serves a ratio. Raises ``SettingsError``."""
        ends = CodecEnds(self.at(ratio), self.device)
        return Link(ends, ends, self.equalizer)

    def send(self, image: NDArray[np.uint8], point: Point, draw: Draw) -> Arrived:
        """An (H, W, 3) image through the chain."""
        got = self.link_at(point.cbr).send(image, point.cbr, draw)
        heard = got.air.heard
        csi = Csi.of_state(heard.state, self.device, heard.block, heard.mixing)
        equalised = torch.from_numpy(got.equalised)[None].to(self.device)
        noise = heard.noise_variance(self.equalizer)
        return Arrived(
            as_tensor(got.pixels, self.device)[None],
            csi,
            len(got.sent),
            self.at(point.cbr),
            equalised,
            variance_of(csi).expand(equalised.shape)
            if noise is None
            else torch.from_numpy(noise)[None].to(self.device),
        )


def folders_of(codec: str) -> list[str]:
    """Codec folders as an option names them, joined by ``+``."""
    return codec.split("+")
