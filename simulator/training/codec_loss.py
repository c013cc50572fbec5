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
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from simulator.jscc.air import Air
from simulator.jscc.chain import complex_normal
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.multipath import SUBCARRIERS, TAPS, Gains, MultipathAir, draw_gains
from simulator.metrics.lpips import LpipsVgg
from simulator.training.discriminator import PatchDiscriminator, hinge_loss
from simulator.training.options import CodecTraining
from simulator.training.phase import at_phase, draw_phase
from simulator.training.stage import Batch

LOG_FLOOR = 1e-4  # 40 dB: flat pictures are not worth more precision than that
MIDDLE_DB = (0.0, 14.0)  # the span that the paper's figures show gets most of the crops
MIDDLE_SHARE = 0.6
# Of the crops, how many meet a channel whose gain changes from symbol to symbol, as over
# subcarriers: the decoder has to use the noise variance that it is given for each.
SELECTIVE_SHARE = 0.15


@dataclass(frozen=True)
class States:
    """Channel states of a batch: what each end knows, and gains (B, K) relative to its RMS."""

    encoder: Csi
    decoder: Csi
    gains: Tensor


class ChannelOptions(Protocol):
    """What ``send_crops`` asks of a training's options."""

    @property
    def channel(self) -> str: ...
    @property
    def snr_db(self) -> tuple[float, float]: ...


def draw_snr(count: int, span: tuple[float, float], generator: torch.Generator) -> Tensor:
    """(B,) in dB, uniform over ``span``; ``MIDDLE_SHARE`` of them within ``MIDDLE_DB``."""
    low, high = span
    middle = max(low, MIDDLE_DB[0]), min(high, MIDDLE_DB[1])
    uniform, chosen = torch.rand(2, count, generator=generator, device=generator.device)
    wide: Tensor = low + (high - low) * uniform
    if middle[0] >= middle[1]:
        return wide
    narrow = middle[0] + (middle[1] - middle[0]) * uniform
    snr: Tensor = torch.where(chosen < MIDDLE_SHARE, narrow, wide)
    return snr


def selective_gains(count: int, k: int, generator: torch.Generator) -> Tensor:
    """(B, K) complex gains over the subcarriers of ``TAPS`` Rayleigh taps of power exp(-l/4),
    of mean square 1; symbol k is on subcarrier k modulo 64."""
    device = generator.device
    power = torch.exp(-torch.arange(TAPS, device=device) / 4)
    taps = complex_normal((count, TAPS), generator, device) * power.sqrt()
    response: Tensor = torch.fft.fft(taps, n=SUBCARRIERS, dim=1)
    response = response / response.abs().square().mean(dim=1, keepdim=True).sqrt()
    return response[:, torch.arange(k, device=device) % SUBCARRIERS]


def draw_states(batch: int, k: int, options: ChannelOptions, generator: torch.Generator) -> States:
    """Half AWGN, and of the faded half one in three with average CSIT (the encoder sees h = 1)
    where channel = both. ``SELECTIVE_SHARE`` is frequency-selective, unless channel = awgn."""
    device = generator.device
    snr = draw_snr(batch, options.snr_db, generator)
    h = complex_normal((batch,), generator, device)
    mode, selective = torch.rand(2, batch, generator=generator, device=device)
    one = torch.ones(batch, dtype=torch.complex64, device=device)
    flat = torch.ones(batch, k, dtype=torch.complex64, device=device)
    if options.channel == "awgn":
        return States(Csi(snr, one), Csi(snr, one), flat)
    gains = selective_gains(batch, k, generator)
    gains = torch.where((selective < SELECTIVE_SHARE)[:, None], gains, flat)
    if options.channel == "rayleigh":
        return States(Csi(snr, h), Csi(snr, h), gains)
    faded = torch.where(mode < 0.5, one, h)
    known = torch.where(mode < 5 / 6, faded, one)
    return States(Csi(snr, known), Csi(snr, faded), gains)


def draw_multipath(
    count: int, k: int, span: tuple[float, float], generator: torch.Generator
) -> dict[str, Tensor]:
    """What ``multipath_of`` makes an air of; the transmitter knows the SNR alone."""
    snr_db = draw_snr(count, span, generator)
    paths = draw_gains(snr_db, generator)
    return {
        "snr_db": snr_db,
        "gains_true": paths.true,
        "gains_heard": paths.heard,
        "gains_error": paths.error,
        "noise": complex_normal((count, k), generator, generator.device),
    }


def multipath_of(batch: Batch) -> MultipathAir:
    """The air of ``draw_multipath``."""
    snr_db, noise = batch["snr_db"], batch["noise"]
    paths = Gains(batch["gains_true"], batch["gains_heard"], batch["gains_error"])
    encoder = Csi(snr_db, torch.ones_like(paths.true[:, 0]))
    block = torch.arange(noise.shape[1], device=noise.device) % SUBCARRIERS
    decoder = Csi(snr_db, paths.heard, block)
    return MultipathAir(encoder, decoder, noise, seed=batch["seed"], paths=paths)


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
    if options.channel == "multipath":
        drawn = draw_multipath(len(image), k, options.snr_db, generator)
        return batch | {"ratio": ratio} | drawn
    states = draw_states(len(image), k, options, generator)
    return batch | {
        "ratio": ratio,
        "snr_db": states.decoder.snr_db,
        "h": states.decoder.h,
        "h_known": states.encoder.h,
        "gains": states.gains,
        "noise": complex_normal((len(image), k), generator, image.device),
    }


def air_of(batch: Batch) -> Air:
    """The channel that ``draw_channel`` has drawn."""
    if "gains_error" in batch:
        return multipath_of(batch)
    encoder = Csi(batch["snr_db"], batch["h_known"])
    decoder = Csi(batch["snr_db"], batch["h"])
    return Air(encoder, decoder, batch["noise"], batch["gains"], batch["seed"])


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
