"""``ofdm-jscc``: networks that correct the channel estimate and the equaliser of OFDM.

Yang, Bian, Kim, "OFDM-guided Deep Joint Source Channel Coding for Wireless Multipath Fading
Channels", IEEE TCCN 8(2), 2022 (arXiv 2109.05194), [14] and [32].

    pilots -LS or LMMSE-> H -ChannelSubnet + -> H' ------------v
    payload ---------------------------------------> equalised -EqualiserSubnet + -> decoder

Explicit signal processing comes first, and light networks add what it leaves wrong. Both learn
through the image, and the first one also from the true gains (``train codec --channel
multipath``). Differences from the paper:

- A decoder here weighs each symbol by its noise, so the first network also says how wrong its gains
  are, and learns by the likelihood of the true ones, where the paper has the squared error.
- It sees the power of the payload, which tells abs(H)^2 of each subcarrier. The pilots are not
  given: the estimate holds all that they say.
- The codec inside stays as it is, and so do transmitters; there is no adversary, no clipping and no
  precoding by feedback. Symbols come in OFDM symbols of ``simulator.phy.multipath``.

On a channel of one gain there is nothing to correct, and it is the codec inside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar, Self

import torch
from torch import Tensor

from simulator.errors import SettingsError
from simulator.jscc.air import Air
from simulator.jscc.chain import complex_normal
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.multipath import (
    SUBCARRIERS,
    TINY_POWER,
    MultipathAir,
    draw_gains,
    noise_power,
)
from simulator.jscc.ofdm_networks import ChannelSubnet, EqualiserSubnet
from simulator.jscc.residual import CorrectingCodec, in_rows
from simulator.jscc.signal import Round
from simulator.phy.equalize import equalize

CHANNEL_WEIGHT = 0.5  # of the gains' likelihood beside the distortion: 50 to 100 in the paper
DRAWS = 64  # channels that the symbols of a crop are sent over to learn the gains alone
LOST = 2.0  # times the noise of the others: a symbol that did not come


@dataclass(frozen=True)
class Corrected:
    """``gains`` and their ``errors``: (B, n); ``symbols`` and their ``variance``: (B, K)."""

    gains: Tensor
    errors: Tensor
    symbols: Tensor
    variance: Tensor


class OfdmCodec(CorrectingCodec):
    """``width``: of both networks."""

    name: ClassVar[str] = "ofdm-jscc"
    draws: ClassVar[bool] = True
    learns_over: ClassVar[str] = "multipath"

    def __init__(self, codec: JsccCodec, width: int = 32) -> None:
        super().__init__(codec, width)
        self.channel_subnet = ChannelSubnet(SUBCARRIERS, width)
        self.equaliser_subnet = EqualiserSubnet(width)
        self.codec.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """The codec inside keeps the statistics of its normalisations."""
        super().train(mode)
        self.codec.eval()
        return self

    def gathered(
        self, symbols: Tensor, csi: Csi, noise_variance: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if noise_variance is None and csi.block is not None:
            power = csi.h[:, csi.block].abs().square().clamp_min(TINY_POWER)
            return symbols, noise_power(csi.snr_db)[:, None] / power
        return super().gathered(symbols, csi, noise_variance)

    def improved(
        self, symbols: Tensor, csi: Csi, noise_variance: Tensor
    ) -> tuple[Tensor, Csi, Tensor]:
        if csi.h.ndim == 1 or csi.h.shape[1] == 1:
            return symbols, csi, noise_variance
        found = self.corrected(symbols, csi, noise_variance)
        return found.symbols, replace(csi, h=found.gains), found.variance

    def corrected(self, symbols: Tensor, csi: Csi, noise_variance: Tensor) -> Corrected:
        """What both networks make of (B, K) symbols behind zero forcing. Raises ``SettingsError``
        where the gains are not those of subcarriers that keep for an image."""
        self._check(csi, symbols.shape[1])
        n0, block = noise_power(csi.snr_db), csi.block
        heard = csi.h[:, block]
        noise = noise_variance * heard.abs().square().clamp_min(TINY_POWER)
        reckoned = noise.amin(dim=1, keepdim=True)  # n0 and the error of the gains
        lost = noise > LOST * reckoned
        payload = symbols * heard
        error = (reckoned[:, 0] - n0).clamp_min(0)
        gains, errors = self._better(csi.h, n0, error, payload, lost)
        own = gains[:, block]
        power = own.abs().square().clamp_min(TINY_POWER)
        variance = (n0[:, None] + errors[:, block]) / power
        variance = torch.where(lost, noise_variance, variance)
        k = symbols.shape[1]
        again = in_rows(equalize(payload, own), SUBCARRIERS)
        better = self.equaliser_subnet(again, gains, in_rows(variance, SUBCARRIERS))
        better = better.flatten(1)[:, :k].masked_fill(lost, 0)
        return Corrected(gains, errors, better, variance)

    def _better(
        self, heard: Tensor, n0: Tensor, error: Tensor, payload: Tensor, lost: Tensor
    ) -> tuple[Tensor, Tensor]:
        came = in_rows((~lost).float(), SUBCARRIERS)
        power = (in_rows(payload.abs().square(), SUBCARRIERS) * came).sum(dim=1)
        count = came.sum(dim=1)
        better: tuple[Tensor, Tensor] = self.channel_subnet(
            heard, n0, error, power / count.clamp_min(1), count
        )
        return better

    def trained_through(
        self, image: Tensor, air: Air, bandwidth_ratio: Fraction
    ) -> tuple[Tensor, dict[str, Tensor]]:
        assert isinstance(air, MultipathAir)  # ``learns_over``
        rounds, _ = self.sent_over(image, air, bandwidth_ratio)
        (only,) = rounds
        size = (image.shape[-2], image.shape[-1])
        made = self.decode(only.received, air.decoder, size, only.noise_variance)
        return made, {"channel": CHANNEL_WEIGHT * self.channel_loss(only, air)}

    def channel_loss(self, sent: Round[Tensor], air: MultipathAir) -> Tensor:
        """Minus the log-likelihood of the true gains, CN(gains, errors), over ``DRAWS`` other
        channels for the symbols of each image, which have the structure that those of an image
        have."""
        generator = torch.Generator(sent.sent.device).manual_seed(air.seed + 1)
        symbols = sent.sent.detach().repeat_interleave(DRAWS, dim=0)
        snr_db = air.decoder.snr_db.repeat_interleave(DRAWS)
        paths, n0 = draw_gains(snr_db, generator), noise_power(snr_db)
        block = torch.arange(symbols.shape[1], device=symbols.device) % SUBCARRIERS
        noise = complex_normal(tuple(symbols.shape), generator, symbols.device) * n0[:, None].sqrt()
        payload = paths.true[:, block] * symbols + noise
        none_lost = torch.zeros_like(payload, dtype=torch.bool)
        gains, errors = self._better(paths.heard, n0, paths.error, payload, none_lost)
        missed = (gains - paths.true).abs().square()
        return (missed / errors + errors.log()).mean()

    def _check(self, csi: Csi, k: int) -> None:
        grid = torch.arange(k, device=csi.h.device) % SUBCARRIERS
        own = csi.block if csi.h.shape[1] == SUBCARRIERS else None
        if own is not None and torch.equal(own.to(grid), grid):
            return
        raise SettingsError(
            f"codec {self.name!r} corrects the gains of {SUBCARRIERS} subcarriers that keep for an "
            f"image, one symbol in each; set channel.multipath.subcarriers={SUBCARRIERS}, leave "
            f"doppler_hz and comb out, or use the codec inside."
        )
