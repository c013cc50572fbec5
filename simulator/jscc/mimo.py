"""Streams from several antennas for a batch of images, differentiable, taken apart by MMSE.

    y = A x + noise, A = H / sqrt(N): symbol k is sent in use k // N, by antenna k mod N
    x' = W y, unbiased: symbol + noise of variance 1 / SINR

What ``simulator.phy.mimo`` does with one frame under its scheme multiplexing, 2 x 2 by default.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from simulator.jscc.air import Air
from simulator.jscc.chain import complex_normal
from simulator.jscc.multipath import noise_power
from simulator.jscc.signal import Round

ANTENNAS = 2  # at each end
PILOTS = 16  # of each stream, where gains are estimated


@dataclass(frozen=True)
class Streams:
    """``true`` and ``heard``, the receiver's estimate: (B, N_r, N) complex64 from streams to
    antennas, the power of each included; ``noise``: (B,), that the receiver reckons with at each
    antenna, what is wrong with the estimate included."""

    true: Tensor
    heard: Tensor
    noise: Tensor

    def gains(self, snr_db: Tensor) -> Tensor:
        """(B, N) complex, one for each stream: abs(g)^2 / n0 is the SINR behind the receiver."""
        sinr = apart(self.heard, self.noise)[1]
        return (sinr * noise_power(snr_db)[:, None]).sqrt() + 0j


def draw_streams(snr_db: Tensor, generator: torch.Generator) -> Streams:
    """For (B,) SNRs in dB. Half of the gains are known, half are estimated from pilots."""
    device, shape = generator.device, (len(snr_db), ANTENNAS, ANTENNAS)
    true = complex_normal(shape, generator, device)
    wrong = complex_normal(shape, generator, device)
    known = torch.rand(len(snr_db), generator=generator, device=device) < 0.5
    n0 = noise_power(snr_db)
    error = torch.where(known, 0.0, n0 / PILOTS)
    heard = (true + error.sqrt()[:, None, None] * wrong) / (1 + error)[:, None, None]
    scale = ANTENNAS**-0.5
    return Streams(true * scale, heard * scale, n0 + error / (1 + error))


def apart(heard: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N, N_r) unbiased MMSE weights and the (B, N) SINRs behind them."""
    both = heard.mH
    eye = torch.eye(heard.shape[2], device=heard.device)
    inverse = torch.linalg.inv(both @ heard + noise[:, None, None] * eye)
    weights = inverse @ both
    left = torch.diagonal(weights @ heard, dim1=1, dim2=2).real
    own = torch.diagonal(inverse, dim1=1, dim2=2).real
    return weights / left[..., None], left / (noise[:, None] * own)


@dataclass(frozen=True, kw_only=True)
class MimoAir(Air):
    """``decoder``: with the estimate as ``mixing`` and a gain for each stream."""

    streams: Streams

    def send(self, symbols: Tensor, number: int = 0) -> Round[Tensor]:
        k, each = symbols.shape[1], self.streams
        receive, n = each.true.shape[1:]
        sent = F.pad(symbols, (0, -k % n)).reshape(len(symbols), -1, n)
        n0 = noise_power(self.decoder.snr_db)[:, None, None]
        size = sent.shape[1] * receive
        noise = self.noise[:, number * size : (number + 1) * size].reshape(
            len(symbols), -1, receive
        )
        arrived = sent @ each.true.mT + noise * n0.sqrt()
        weights, sinr = apart(each.heard, each.noise)
        received = (arrived @ weights.mT).flatten(1)[:, :k]
        variance = (1 / sinr).repeat(1, sent.shape[1])[:, :k]
        return Round(symbols, received, variance)
