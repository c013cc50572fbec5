"""Codecs around a codec: its networks stay what they are, the way of sending changes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

from torch import Tensor

from simulator.errors import ModelError
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.rates import Layout

#: What a codec overrides that sends in a way of its own, which a wrapper does not hand on.
OWN_WAYS = ("signal_of", "sent_maps", "correction", "image_of", "restored", "side_of")


class WrappedCodec(JsccCodec):
    """``codec``: the one inside, whose name and config are part of this one's. Raises
    ``ModelError`` for one with rounds, side information or a ratio that it chooses itself."""

    encoder_name: ClassVar[str] = "codec.encoder"

    def __init__(self, codec: JsccCodec) -> None:
        super().__init__()
        if any(getattr(type(codec), way) is not getattr(JsccCodec, way) for way in OWN_WAYS):
            raise ModelError(
                f"{self.name} goes around a codec that sends its maps once, as many as it is asked "
                f"for, and nothing beside them; codec {codec.name!r} does not."
            )
        self.codec = codec
        self.n_downsample, self.min_cells = self.codec.n_downsample, self.codec.min_cells
        self.partly = self.codec.partly
        self.bandwidth_ratio: Fraction = self.codec.bandwidth_ratio
        self.bandwidth_ratios: tuple[Fraction, ...] = self.codec.bandwidth_ratios

    @property
    def config(self) -> dict[str, Any]:
        return {"inner": self.codec.name, "inner_config": self.codec.config}

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        return self.codec.analyse(image, csi, channels)

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        return self.codec.synthesise(latent, csi, noise_variance)

    def pack(self, maps: Tensor) -> Tensor:
        return self.codec.pack(maps)

    def unpack(self, symbols: Tensor, layout: Layout) -> Tensor:
        return self.codec.unpack(symbols, layout)

    def onnx_graph(self) -> Any:
        return self.codec.onnx_graph()
