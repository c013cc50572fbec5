"""``deepjscc-f`` [12]: channel output feedback. Each round sends what the receiver still lacks.

Kurka, Gunduz, "DeepJSCC-f: Deep Joint Source-Channel Coding of Images with Feedback", IEEE JSAIT
2020.

    round 0      image -E_0-> s_0          y_0 -D_0-> image_0
    round r      [image, image_(r-1)] -E_r-> s_r      [y_0 ... y_r] -D_r-> new
                                                      [image_(r-1), new] -combiner-> image_r

What is fed back are the received symbols, so that the transmitter runs the decoder, too, and knows
image_(r-1). Encoders and decoders are those of ``adjscc``: they have the sizes of the paper's, and
the SNR is one of their inputs. The paper trains one network for each SNR, and the rounds one after
the other; here all rounds are trained together, and the distortion of the earlier ones counts, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from simulator.errors import ModelError, SettingsError
from simulator.jscc.adjscc import AdjsccDecoder, AdjsccEncoder
from simulator.jscc.air import Air
from simulator.jscc.codec import JsccCodec, pad_to
from simulator.jscc.csi import Csi
from simulator.jscc.one_ratio import received_snr
from simulator.jscc.rates import Layout, channels_of, ratio_of
from simulator.jscc.signal import Round

MAX_ROUNDS = 4
HIDDEN = 48  # maps of a combiner


class Combiner(nn.Module):
    """The image of the round before and that of this one -> one image."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(6, HIDDEN, 3, padding=1),
            nn.PReLU(HIDDEN),
            nn.Conv2d(HIDDEN, 3, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, before: Tensor, new: Tensor) -> Tensor:
        return self.layers(torch.cat([before, new], dim=1))  # type: ignore[no-any-return]


class DeepJsccFCodec(JsccCodec):
    """``c_channel``: maps of one round; with 2 of them and two rounds its ratio is 1/24."""

    name: ClassVar[str] = "deepjscc-f"
    encoder_name: ClassVar[str] = "encoders"
    n_downsample = 2

    def __init__(self, c_channel: int = 2, rounds: int = 2, width: int = 256) -> None:
        super().__init__()
        if c_channel < 2 or c_channel % 2 or not 2 <= rounds <= MAX_ROUNDS:
            raise ModelError(
                f"deepjscc-f: {rounds} rounds of {c_channel} maps; give 2 to {MAX_ROUNDS} rounds "
                f"of an even number of maps."
            )
        self.c_channel, self.rounds, self.width = c_channel, rounds, width
        self.bandwidth_ratio = rounds * ratio_of(c_channel, self.n_downsample)
        self.bandwidth_ratios = (self.bandwidth_ratio,)
        self.encoders = nn.ModuleList(
            AdjsccEncoder(c_channel, width, inputs=6 if r else 3) for r in range(rounds)
        )
        self.decoders = nn.ModuleList(
            AdjsccDecoder((r + 1) * c_channel, width) for r in range(rounds)
        )
        self.combiners = nn.ModuleList(Combiner() for _ in range(rounds - 1))

    @classmethod
    def made_for(cls, ratio: Fraction | None, channel: str, **config: Any) -> Self:
        if ratio is not None:
            rounds = config.get("rounds", 2)
            config["c_channel"] = channels_of(ratio / rounds, cls.n_downsample)
        return cls(**config)

    @property
    def config(self) -> dict[str, Any]:
        return {"c_channel": self.c_channel, "rounds": self.rounds, "width": self.width}

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        return self.encoders[0](image, received_snr(csi))  # type: ignore[no-any-return]

    def correction(self, image: Tensor, heard: Sequence[Round[Tensor]], csi: Csi) -> Tensor:
        layout = self.layout(self.bandwidth_ratio, (image.shape[-2], image.shape[-1]))
        maps = [super(DeepJsccFCodec, self).unpack(each.received, layout) for each in heard]
        snr, cell = received_snr(csi), 2**self.n_downsample
        padded = pad_to(image, (layout.height * cell, layout.width * cell))
        known = self.estimates(maps, snr)[-1]
        sent = self.encoders[len(heard)](torch.cat([padded, known], dim=1), snr)
        return self.modulate(self.pack(sent.float()))

    def estimates(self, maps: Sequence[Tensor], snr: Tensor) -> list[Tensor]:
        """The image after each round, from the maps (B, C, h, w) that it has brought."""
        images: list[Tensor] = []
        for number in range(len(maps)):
            new = self.decoders[number](torch.cat(list(maps[: number + 1]), dim=1), snr)
            images.append(self.combiners[number - 1](images[-1], new) if images else new)
        return images

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        return self.estimates(torch.split(latent, self.c_channel, dim=1), received_snr(csi))[-1]

    def trained_through(
        self, image: Tensor, air: Air, bandwidth_ratio: Fraction
    ) -> tuple[Tensor, dict[str, Tensor]]:
        rounds, _ = self.sent_over(image, air, bandwidth_ratio)
        height, width = image.shape[-2:]
        layout = self.layout(bandwidth_ratio, (height, width))
        maps = [super(DeepJsccFCodec, self).unpack(each.received, layout) for each in rounds]
        images = [
            each[..., :height, :width] for each in self.estimates(maps, received_snr(air.decoder))
        ]
        earlier = [(each.float() - image).square().mean() for each in images[:-1]]
        return images[-1], {"earlier rounds": torch.stack(earlier).mean()}

    def layout(self, ratio: Fraction, size: tuple[int, int]) -> Layout:
        return super().layout(ratio / self.rounds, size)

    def layout_of_symbols(self, k: int, size: tuple[int, int]) -> Layout:
        layout = self.layout(self.bandwidth_ratio, size)
        if k != self.rounds * layout.k:
            raise SettingsError(
                f"{k} symbols do not fit a {size[1]}x{size[0]} image: codec {self.name!r} sends "
                f"{self.rounds} times {layout.k}."
            )
        return layout

    def unpack(self, symbols: Tensor, layout: Layout) -> Tensor:
        """(B, R K) of all rounds in a row -> (B, R C, h, w)."""
        rounds = symbols.chunk(self.rounds, dim=1)
        return torch.cat([super(DeepJsccFCodec, self).unpack(each, layout) for each in rounds], 1)
