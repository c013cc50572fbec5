"""What a codec's reconstruction of a batch of crops costs it.

    crops -codec, random channels-> reconstruction -> distortion (6) [+ w LPIPS] [+ alpha adversary]

The distortion is the mean squared error. Where a codec serves several ratios and a wide span of
SNR it is the mean of the log of each crop's error: otherwise the worst states, from which least
can be learnt, would outweigh the others tenfold. A weight beside it is then relative to the
error that is left. ``adversarial`` is alpha of DeepJSCC-adv: minus the score that a patch
discriminator gives the reconstruction; the discriminator learns by the hinge loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from simulator.jscc.chain import complex_normal, transmit
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.metrics.lpips import load_lpips
from simulator.training.discriminator import PatchDiscriminator, hinge_loss
from simulator.training.phase import Phase, at_phase, draw_phase

if TYPE_CHECKING:
    from simulator.training.codec_options import CodecTraining

LOG_FLOOR = 5e-4  # 33 dB: cells of plain sky are not worth more precision than that


@dataclass(frozen=True)
class Crops:
    """A batch as it was and as it arrived, (B, 3, H, W) in [0, 1], and its distortion."""

    image: Tensor
    result: Tensor
    distortion: Tensor
    phase: Phase  # of LPIPS


def draw_states(options: CodecTraining, generator: torch.Generator) -> tuple[Csi, Csi]:
    """(encoder, decoder) channel states of a batch: SNR uniform in dB; half AWGN, and of the
    faded half one in three with average CSIT (the encoder sees h = 1) where channel = both."""
    batch = options.batch
    low, high = options.snr_db
    snr = low + (high - low) * torch.rand(batch, generator=generator)
    h = complex_normal((batch,), generator)
    mode = torch.rand(batch, generator=generator)
    one = torch.ones(batch, dtype=torch.complex64)
    if options.channel == "awgn":
        return Csi(snr, one), Csi(snr, one)
    if options.channel == "rayleigh":
        return Csi(snr, h), Csi(snr, h)
    faded = torch.where(mode < 0.5, one, h)
    known = torch.where(mode < 5 / 6, faded, one)
    return Csi(snr, known), Csi(snr, faded)


def send_crops(codec: JsccCodec, crops: np.ndarray, step: int, options: CodecTraining) -> Crops:
    """The crops of one step over its states and noise, with equation (6)."""
    generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
    image = torch.from_numpy(crops).to(options.device).permute(0, 3, 1, 2).float() / 255
    if options.device == "cpu":
        image = image.contiguous(memory_format=torch.channels_last)
    encoder_csi, decoder_csi = (s.to(options.device) for s in draw_states(options, generator))
    ratios = codec.bandwidth_ratios
    ratio = ratios[int(torch.randint(len(ratios), (1,), generator=generator))]
    k = codec.layout(ratio, (options.crop, options.crop)).k
    noise = complex_normal((options.batch, k), generator, options.device)
    autocast = torch.autocast("cuda", torch.bfloat16, enabled=options.device.startswith("cuda"))
    with autocast:
        result = transmit(codec, image, encoder_csi, decoder_csi, noise, ratio).float()
    mse = ((result - image) ** 2).mean(dim=(1, 2, 3))
    distortion = (mse + LOG_FLOOR).log().mean() if len(ratios) > 1 else mse.mean()
    return Crops(image, result, distortion, draw_phase(generator))


class CodecLosses:
    """The losses of the codec and, with ``adversarial``, of the discriminator ``critic``.

    Raises ``ModelError`` where LPIPS is asked for and its weights are not there.
    """

    def __init__(self, options: CodecTraining) -> None:
        self.options = options
        self.lpips = load_lpips(device=options.device) if options.lpips else None
        self.critic: PatchDiscriminator | None = None
        if options.adversarial:
            torch.manual_seed(options.seed + 1)
            self.critic = PatchDiscriminator().to(options.device)

    def of_codec(self, crops: Crops) -> Tensor:
        loss = crops.distortion
        if self.lpips is not None:
            pair = (at_phase(each, crops.phase) for each in (crops.result, crops.image))
            loss = loss + self.options.lpips * self.lpips(*pair).mean()
        if self.critic is not None:
            score = self.critic.judge_frozen(crops.result).mean()
            loss = loss - self.options.adversarial * score
        return loss

    def of_critic(self, crops: Crops) -> Tensor:
        """Hinge loss on the crops and on what was just made of them."""
        assert self.critic is not None
        return hinge_loss(self.critic(crops.image), self.critic(crops.result.detach()))
