"""Codecs of one bandwidth ratio, an encoder and a decoder of ``c_channel`` maps."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Self

from torch import Tensor, nn

from simulator.errors import ModelError
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.rates import channels_of, ratio_of

CLIP_DB = 30.0  # a deeper fade or a better channel is this one


def received_snr(csi: Csi) -> Tensor:
    """(B,) SNR of each image in tens of dB, its gain included: under fading, a codec that was made
    for AWGN takes this as its SNR."""
    gain_db = 20 * csi.gain.abs().clamp_min(1e-6).log10()
    return (csi.snr_db + gain_db).float().clamp(-CLIP_DB, CLIP_DB) / 10


class OneRatioCodec(JsccCodec):
    """``encoder``: (image, SNR (B,) in tens of dB) -> (B, C, h, w); ``decoder``: (maps, SNR) ->
    image, about 0 to 1. A subclass makes them and has its own part of ``config``."""

    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, c_channel: int, n_downsample: int) -> None:
        super().__init__()
        if c_channel < 2 or c_channel % 2:
            raise ModelError(f"{self.name}: c_channel = {c_channel}; give an even number of maps.")
        self.c_channel, self.n_downsample = c_channel, n_downsample
        self.bandwidth_ratio = ratio_of(c_channel, n_downsample)
        self.bandwidth_ratios = (self.bandwidth_ratio,)

    @classmethod
    def made_for(cls, ratio: Fraction | None, channel: str, **config: Any) -> Self:
        made = cls(**config)
        if ratio is None or ratio == made.bandwidth_ratio:
            return made
        return cls(**{**config, "c_channel": channels_of(ratio, made.n_downsample)})

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        return self.encoder(image, received_snr(csi))  # type: ignore[no-any-return]

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        return self.decoder(latent, received_snr(csi))  # type: ignore[no-any-return]


class SnrGraph(nn.Module):
    """An encoder with the SNR of the image as an input, for ONNX."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor, snr_db: Tensor, h: Tensor, ratio: Tensor) -> Tensor:
        gain = h.square().sum(dim=1).sqrt()
        return self.encoder(image, received_snr(Csi(snr_db, gain)))  # type: ignore[no-any-return]


def snr_graph(
    encoder: nn.Module, channels: Mapping[Fraction, int]
) -> tuple[nn.Module, dict[str, list[int]]]:
    """``JsccCodec.onnx_graph`` of an encoder whose first ``channels`` maps are those of a ratio."""
    return SnrGraph(encoder), {str(ratio): [0, count] for ratio, count in channels.items()}
