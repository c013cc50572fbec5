"""``policy`` [23]: the codec decides how much it sends, by the image and the channel state.

Yang, Kim, "Deep Joint Source-Channel Coding for Wireless Image Transmission with Adaptive Rate
Control", IEEE ICASSP 2022.

    image -encoder-> G groups of maps, of which the first ``always`` are always sent
    mean of each map, SNR -64-> 64-> how many of the others

The number is one choice of a softmax, of which training draws a sample (Gumbel, hard forward) and
pays ``price`` for each group, in units of the mean squared error. Encoder and decoder are those of
``cnn``, the paper's of the same authors. The temperature of the softmax, which the paper lowers
epoch by epoch, is constant here. What is asked for as bandwidth ratio is the budget.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulator.errors import ModelError
from simulator.jscc.air import Air
from simulator.jscc.cnn import CnnDecoder, CnnEncoder
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.layered import paired, unpaired
from simulator.jscc.one_ratio import received_snr
from simulator.jscc.rates import Layout, ratio_of

HIDDEN = 64


class PolicyCodec(JsccCodec):
    """``groups``: G, of ``c_channel`` maps each; ``width``: 256 in the paper; ``price``: lambda.

    A batch is sent at the largest number of groups that one of its images is given.
    """

    name: ClassVar[str] = "policy"
    draws: ClassVar[bool] = True
    logarithmic = False  # the price is one of the error itself
    n_downsample = 2
    min_cells = 2  # as of ``cnn``

    def __init__(
        self,
        c_channel: int = 2,
        groups: int = 8,
        always: int = 4,
        width: int = 256,
        blocks: int = 2,
        price: float = 1.5e-3,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if c_channel < 2 or c_channel % 2 or not 1 <= always <= groups:
            raise ModelError(
                f"policy: {always} of {groups} groups of {c_channel} maps; give an even number of "
                f"maps, and at least one group that is always sent."
            )
        if width < 4 or blocks < 0 or not temperature > 0:
            raise ModelError("policy: width from 4, blocks from 0, and a temperature above 0.")
        self._config = given
        self.c_channel, self.groups, self.always = c_channel, groups, always
        self.price, self.temperature = price, temperature
        self.bandwidth_ratios = tuple(
            ratio_of(count * c_channel, self.n_downsample) for count in range(always, groups + 1)
        )
        self.bandwidth_ratio = self.bandwidth_ratios[-1]
        n_maps = groups * c_channel
        first = max(1, width // 4)
        self.encoder = CnnEncoder(first, width, self.n_downsample, blocks, n_maps, state=1)
        self.decoder = CnnDecoder(first, width, self.n_downsample, blocks, n_maps, state=1)
        self.policy = nn.Sequential(
            nn.Linear(n_maps + 1, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, groups - always + 1),
        )

    @property
    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def _votes(self, maps: Tensor, csi: Csi) -> Tensor:
        """(B, choices) logits: ``always`` groups, one more, ... all; ``maps``: of all groups."""
        seen = torch.cat([maps.mean(dim=(2, 3)), received_snr(csi)[:, None]], dim=1)
        return self.policy(seen)  # type: ignore[no-any-return]

    def sent_maps(self, image: Tensor, csi: Csi, budget: Fraction) -> Tensor:
        maps = self.maps(image, csi, self.bandwidth_ratios[-1])
        choices = self.bandwidth_ratios.index(budget) + 1
        more = int(self._votes(maps, csi)[:, :choices].argmax(dim=1).max())
        return maps[:, : (self.always + more) * self.c_channel]

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        maps: Tensor = self.encoder(image, received_snr(csi)[:, None])
        return maps[:, :channels]

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        missing = self.groups * self.c_channel - latent.shape[1]
        maps = F.pad(latent, (0, 0, 0, 0, 0, missing))
        return self.decoder(maps, received_snr(csi)[:, None])  # type: ignore[no-any-return]

    def trained_through(
        self, image: Tensor, air: Air, bandwidth_ratio: Fraction
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """All groups go over the air, with those that were not chosen as zeros at both ends."""
        size = (image.shape[-2], image.shape[-1])
        layout = self.layout(bandwidth_ratio, size)
        whole = self.maps(image, air.encoder, self.bandwidth_ratios[-1])
        maps = whole[:, : layout.channels]
        choices = self.bandwidth_ratios.index(bandwidth_ratio) + 1
        chosen = self._drawn(self._votes(whole, air.encoder)[:, :choices], air.seed)
        sent = torch.cat(
            [torch.ones_like(chosen[:, :1]).expand(-1, self.always), _above(chosen)], 1
        )
        mask = sent.repeat_interleave(self.c_channel, dim=1)[:, :, None, None]
        symbols = paired(maps * mask)
        share = sent.mean(dim=1, keepdim=True)  # of the symbols that are not zero
        power = symbols.abs().square().mean(dim=1, keepdim=True) / share
        received = air.send(symbols * power.clamp_min(1e-12).rsqrt()).received
        latent = unpaired(received, layout) * mask
        made = self.synthesise(latent, air.decoder, latent)
        groups = sent.sum(dim=1).mean()
        return made[..., : size[0], : size[1]], {"groups": self.price * groups}

    def _drawn(self, votes: Tensor, seed: int) -> Tensor:
        """(B, choices) one-hot, with the gradient of the softmax."""
        generator = torch.Generator().manual_seed(seed)
        uniform = torch.rand(votes.shape, generator=generator).clamp(1e-6, 1 - 1e-6)
        soft = ((votes - (-uniform.log()).log().to(votes.device)) / self.temperature).softmax(1)
        hard = F.one_hot(soft.argmax(dim=1), votes.shape[1]).to(soft.dtype)
        return hard + soft - soft.detach()

    def pack(self, maps: Tensor) -> Tensor:
        return paired(maps)

    def unpack(self, symbols: Tensor, layout: Layout) -> Tensor:
        return unpaired(symbols, layout)


def _above(chosen: Tensor) -> Tensor:
    """(B, N + 1) one-hot number of optional groups -> (B, N), 1 for each that is sent."""
    return chosen.flip(1).cumsum(1).flip(1)[:, 1:]
