"""What a codec's reconstruction of a batch of crops costs it.

    crops -codec, random channels-> reconstruction -> distortion (6) [+ w LPIPS] [+ alpha adversary]

The distortion is the mean squared error. Where a codec serves several ratios and a wide span of
SNR it is the mean of the log of each crop's error: otherwise the worst states, from which least
can be learnt, would outweigh the others tenfold. A weight beside it is then relative to the
error that is left. LPIPS is that of VGG16. ``adversarial`` is alpha of DeepJSCC-adv: minus the
score that a patch discriminator gives the reconstruction; the discriminator learns by the hinge
loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.metrics.lpips import LpipsVgg
from simulator.training.airs import air_of, draw_air
from simulator.training.discriminator import PatchDiscriminator, hinge_loss
from simulator.training.options import CodecTraining
from simulator.training.phase import at_phase, draw_phase
from simulator.training.stage import Batch

LOG_FLOOR = 1e-4  # 40 dB: flat pictures are not worth more precision than that


class ChannelOptions(Protocol):
    """What ``send_crops`` asks of a training's options."""

    @property
    def channel(self) -> str: ...
    @property
    def snr_db(self) -> tuple[float, float]: ...


def draw_channel(
    codec: JsccCodec, batch: Batch, options: ChannelOptions, ratios: Sequence[Fraction] = ()
) -> Batch:
    """``batch`` with the ratio of this step, one of ``ratios`` or else of those that the codec is
    trained at, and, on the device of its crops, the states and noise that ``send_crops`` sends them
    through; a function of its ``seed``.

    Draws are made where they are used: an accelerator would wait for those of the processor.
    """
    image = batch["image"]
    ratios = ratios or codec.trained_ratios
    ratio = ratios[int(np.random.default_rng(batch["seed"]).integers(len(ratios)))]
    generator = torch.Generator(image.device).manual_seed(batch["seed"])
    k = codec.k(ratio, (image.shape[-2], image.shape[-1]))
    drawn = draw_air(len(image), k, options.channel, options.snr_db, generator)
    return batch | {"ratio": ratio} | drawn


def send_crops(codec: JsccCodec, batch: Batch) -> tuple[Tensor, Csi]:
    """The crops ``image`` of one step, (B, 3, H, W) in [0, 1], as they arrive over the channel of
    ``draw_channel``, and what the receiver knows of it."""
    air = air_of(batch)
    return codec.through(batch["image"], air, batch["ratio"]).float(), air.decoder


def distortion_of(result: Tensor, image: Tensor, logarithmic: bool) -> Tensor:
    mse = ((result - image) ** 2).mean(dim=(1, 2, 3))
    return (mse + LOG_FLOOR).log().mean() if logarithmic else mse.mean()


class CodecLosses(nn.Module):
    """The loss terms of a batch; keeps what it makes of each for the discriminator."""

    def __init__(self, codec: JsccCodec, lpips: LpipsVgg | None, options: CodecTraining) -> None:
        super().__init__()
        self.codec, self.options = codec, options
        self._lpips = [lpips]  # no sub-module: frozen, and placed by the stage
        self.adversary: Callable[[Tensor], Tensor] | None = None
        self.made: dict[int, Tensor] = {}  # of the batches of a step, by seed
        if options.freeze == "encoder":
            self._encoder.requires_grad_(False)

    @property
    def _encoder(self) -> nn.Module:
        return self.codec.get_submodule(self.codec.encoder_name)

    def train(self, mode: bool = True) -> CodecLosses:
        """A frozen encoder keeps the statistics of its normalisations."""
        super().train(mode)
        if self.options.freeze == "encoder":
            self._encoder.eval()
        return self

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        image, options = batch["image"], self.options
        made, own = self.codec.trained_through(image, air_of(batch), batch["ratio"])
        result = made.float()
        terms = {"distortion": distortion_of(result, image, self.codec.logarithmic), **own}
        lpips = self._lpips[0]
        if lpips is not None:
            phase = draw_phase(torch.Generator().manual_seed(batch["seed"] + 1))
            pair = (at_phase(each, phase) for each in (result, image))
            terms["lpips"] = options.lpips * lpips(*pair).mean()
        if self.adversary is not None:
            terms["adversarial"] = -options.adversarial * self.adversary(result).mean()
            self.made[batch["seed"]] = result.detach()
        return terms


class CodecCriticLosses(nn.Module):
    """Hinge loss on the crops and on what was made of them."""

    def __init__(self, critic: PatchDiscriminator, codec: CodecLosses) -> None:
        super().__init__()
        self.critic = critic
        self._codec = [codec]  # not a sub-module: it is trained elsewhere

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        made = self._codec[0].made.pop(batch["seed"])
        return {"hinge": hinge_loss(self.critic(batch["image"]), self.critic(made))}
