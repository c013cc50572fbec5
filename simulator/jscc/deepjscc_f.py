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
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from simulator.jscc.adjscc import AdjsccDecoder, AdjsccEncoder
from simulator.jscc.air import Air
from simulator.jscc.csi import Csi
from simulator.jscc.in_rounds import RoundsCodec
from simulator.jscc.one_ratio import received_snr

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


class DeepJsccFCodec(RoundsCodec):
    """``width``: of ``adjscc``, 256 in the paper."""

    name: ClassVar[str] = "deepjscc-f"
    encoder_name: ClassVar[str] = "encoders"

    def __init__(self, c_channel: int = 2, rounds: int = 2, width: int = 256) -> None:
        super().__init__(c_channel, rounds)
        self.width = width
        self.encoders = nn.ModuleList(
            AdjsccEncoder(c_channel, width, inputs=6 if r else 3) for r in range(rounds)
        )
        self.decoders = nn.ModuleList(
            AdjsccDecoder((r + 1) * c_channel, width) for r in range(rounds)
        )
        self.combiners = nn.ModuleList(Combiner() for _ in range(rounds - 1))

    @property
    def config(self) -> dict[str, Any]:
        return {"c_channel": self.c_channel, "rounds": self.rounds, "width": self.width}

    def sent_after(self, image: Tensor, heard: Sequence[Tensor], snr: Tensor) -> Tensor:
        if heard:
            image = torch.cat([image, self.estimates(heard, snr)[-1]], dim=1)
        return self.encoders[len(heard)](image, snr)  # type: ignore[no-any-return]

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
        maps = self.maps_received(rounds, (height, width))
        images = [
            each[..., :height, :width] for each in self.estimates(maps, received_snr(air.decoder))
        ]
        earlier = [(each.float() - image).square().mean() for each in images[:-1]]
        return images[-1], {"earlier rounds": torch.stack(earlier).mean()}
