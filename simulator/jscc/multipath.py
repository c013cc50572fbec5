"""OFDM over multipath for a batch of images, differentiable, with gains that pilots estimate.

    taps (L,) -Fourier transform-> gains H (n,) -+ noise of one OFDM symbol of pilots-> LS
    LS -taps of the profile, each by its Wiener factor-> LMMSE
    symbol k: y = H[k mod n] x + noise; the receiver divides by what it takes for H

What ``simulator.phy.multipath`` does with one frame, whose defaults these are: 64 subcarriers,
eight taps of power exp(-l / 4), pilots in front of the image, gains that keep for it. Delays are
whole samples, so that the Wiener filter over subcarriers is a factor for each tap.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from simulator.jscc.air import Air, clipped
from simulator.jscc.chain import complex_normal
from simulator.jscc.signal import Round
from simulator.phy.equalize import equalize
from simulator.phy.ofdm import zadoff_chu
from simulator.phy.profile import exponential

SUBCARRIERS, TAPS = 64, 8
TINY_POWER = 1e-12  # of a gain: the receiver hears nothing


@dataclass(frozen=True)
class Gains:
    """``true`` and ``heard``, the receiver's estimate: (B, n) complex64; ``error``: (B,), the mean
    square error of the estimate, as it is reckoned with."""

    true: Tensor
    heard: Tensor
    error: Tensor


def noise_power(snr_db: Tensor) -> Tensor:
    """Of the noise in each complex symbol."""
    return 10 ** (-snr_db / 10)


def profile(device: torch.device) -> Tensor:
    """(TAPS,) powers of the paths, of sum 1."""
    return torch.as_tensor(exponential(TAPS).powers, dtype=torch.float32, device=device)


def draw_gains(snr_db: Tensor, generator: torch.Generator) -> Gains:
    """For (B,) SNRs in dB. Half of the estimates are LMMSE, half least squares, and half of them of
    one OFDM symbol of pilots, the others of two, four or eight."""
    device, count = generator.device, len(snr_db)
    taps = complex_normal((count, TAPS), generator, device) * profile(device).sqrt()
    true = torch.fft.fft(taps, n=SUBCARRIERS)
    filtered, several, many = torch.rand(3, count, generator=generator, device=device)
    pilots = torch.where(several < 0.5, 1.0, 2.0 ** (1 + (3 * many).floor()))
    n0 = noise_power(snr_db) / pilots
    noise = complex_normal(tuple(true.shape), generator, device)
    heard, error = estimated(true, n0, filtered < 0.5, noise)
    return Gains(true, heard, error)


def estimated(true: Tensor, n0: Tensor, lmmse: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """(B, n) estimates from pilots of every subcarrier, and their (B,) mean square errors.

    ``n0``: (B,), of the noise in the mean of a subcarrier's pilots; ``noise``: (B, n), CN(0, 1);
    ``lmmse``: (B,) bool, least squares elsewhere.
    """
    n, n0 = true.shape[1], n0[:, None]
    powers = F.pad(profile(true.device), (0, n - TAPS))
    least = true + n0.sqrt() * noise
    wiener = powers / (powers + n0 / n)
    filtered = torch.fft.fft(torch.fft.ifft(least) * wiener)
    error = torch.where(lmmse, (wiener * n0 / n).sum(dim=1), n0[:, 0])
    return torch.where(lmmse[:, None], filtered, least), error


@dataclass(frozen=True, kw_only=True)
class MultipathAir(Air):
    """``decoder``: with the estimate as ``h``; ``paths``: that, and the truth."""

    paths: Gains

    def send(self, symbols: Tensor, number: int = 0) -> Round[Tensor]:
        k, n0 = symbols.shape[1], noise_power(self.decoder.snr_db)[:, None]
        block = torch.arange(k, device=symbols.device) % self.paths.true.shape[1]
        noise = self.noise[:, number * k : (number + 1) * k] * n0.sqrt()
        payload = self.paths.true[:, block] * self.radiated(symbols) + noise
        heard = self.paths.heard[:, block]
        reckoned = n0 + self.paths.error[:, None]
        variance = reckoned / heard.abs().square().clamp_min(TINY_POWER)
        return Round(symbols, equalize(payload, heard), variance)

    def radiated(self, symbols: Tensor) -> Tensor:
        """Clipping is of the samples of each OFDM symbol."""
        if not self.clip:
            return symbols
        k, n = symbols.shape[1], self.paths.true.shape[1]
        chirp = torch.from_numpy(zadoff_chu(n)).to(symbols.device)
        turns = chirp if self.scramble else torch.ones_like(chirp)
        rows = F.pad(symbols, (0, -k % n)).reshape(len(symbols), -1, n) * turns
        samples = clipped(torch.fft.ifft(rows, norm="ortho"), self.clip)
        arrived = torch.fft.fft(samples, norm="ortho") * turns.conj()
        sent: Tensor = arrived.flatten(1)[:, :k]
        return sent
