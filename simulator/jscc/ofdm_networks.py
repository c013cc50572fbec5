"""The two networks of ``ofdm-jscc``: corrections of what signal processing gives.

Both start as nothing, so that an untrained one leaves the signal processing as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from simulator.jscc.residual import MOST_VARIANCE, nothing, parts, with_correction

KERNEL = 5
LATE = 16  # samples: the cyclic prefix, which no path is later than
LEAST_ERROR = 1e-4  # of an estimate, relative to the noise: a smaller one is none


def over_subcarriers(inputs: int, outputs: int, dilation: int = 1) -> nn.Conv1d:
    """The subcarriers are those of a Fourier transform: the last one is beside the first."""
    padding = dilation * (KERNEL // 2)
    return nn.Conv1d(
        inputs, outputs, KERNEL, padding=padding, dilation=dilation, padding_mode="circular"
    )


class ChannelSubnet(nn.Module):
    """(B, n) estimated gains, and what else tells of them -> better gains, and their errors.

        gains -inverse transform-> taps -a factor for each-> + -> gains'      (the profile)
        gains', power of the payload -four convolutions-> + -> gains''        (the data)

    The factors are functions of the noise, of the error and of what comes later than any path.
    With E abs(x)^2 = 1 the mean power of the payload at a subcarrier, less the noise, is abs(H)^2
    without any pilot.
    """

    def __init__(self, subcarriers: int, width: int) -> None:
        super().__init__()
        self.factors = nn.Sequential(
            nn.Linear(3, width), nn.SiLU(), nothing(nn.Linear(width, subcarriers))
        )
        self.layers = nn.Sequential(
            over_subcarriers(9, width),
            nn.SiLU(),
            over_subcarriers(width, width, 2),
            nn.SiLU(),
            over_subcarriers(width, width, 4),
            nn.SiLU(),
            nothing(over_subcarriers(width, 3)),
        )

    def forward(
        self, gains: Tensor, n0: Tensor, error: Tensor, power: Tensor, count: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``n0``, ``error``: (B,), of the noise and of the estimate; ``power``: (B, n), the mean of
        abs(y)^2 over ``count`` (B, n) symbols. Returns (B, n) gains and (B, n) errors; where
        there was no error, nothing is changed."""
        known = error < LEAST_ERROR * n0
        error = error.masked_fill(known, 0.0)
        taps = torch.fft.ifft(gains)
        late = taps[:, LATE:].abs().square().sum(dim=1)  # noise alone, where nobody took it away
        relative = [(each / n0).clamp_min(LEAST_ERROR).log10() for each in (error, late)]
        levels = [n0.log10(), *relative]
        factors = self.factors(torch.stack(levels, dim=1)).float().masked_fill(known[:, None], 0.0)
        better = gains + torch.fft.fft(taps * factors)
        amplitude = better.abs().clamp_min(1e-6)
        missing = (power - n0[:, None]).clamp_min(0).sqrt() - amplitude
        planes = [
            *parts(better, missing / amplitude * better),
            missing,
            count.clamp_min(1).log10(),
            *(each[:, None].expand(gains.shape) for each in levels),
        ]
        real, imaginary, level = self.layers(torch.stack(planes, dim=1)).float().unbind(dim=1)
        scale = error.sqrt()[:, None]
        return better + scale * torch.complex(real, imaginary), error[:, None] * level.exp()


class EqualiserSubnet(nn.Module):
    """Symbols of whole OFDM symbols, behind the equaliser -> the same with less error.

    Each OFDM symbol by itself. The correction has the scale of the error that MMSE leaves.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            over_subcarriers(7, width),
            nn.SiLU(),
            over_subcarriers(width, width),
            nn.SiLU(),
            nothing(over_subcarriers(width, 2)),
        )

    def forward(self, symbols: Tensor, gains: Tensor, variance: Tensor) -> Tensor:
        """``symbols``: (B, T, n) behind zero forcing; ``gains``: (B, n); ``variance``: (B, T, n),
        of the noise in each symbol."""
        shape, v = symbols.shape, variance
        own = gains[:, None].expand(shape)
        planes = [
            *parts(own, own * symbols, symbols / (1 + v)),
            v.clamp(1e-6, MOST_VARIANCE).log10(),
        ]
        flat = torch.stack(planes, dim=2).flatten(0, 1)
        real, imaginary = self.layers(flat).float().reshape(*shape[:2], 2, shape[2]).unbind(dim=2)
        return with_correction(symbols, v, torch.complex(real, imaginary))
