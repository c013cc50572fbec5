"""``space-time``: a network that corrects streams which a linear receiver has taken apart.

Bian, Shao, Wu, Gunduz, "Space-Time Design for Deep Joint Source Channel Coding of Images over MIMO
Channels", IEEE SPAWC 2023 (arXiv 2210.16985), [15].

    2C maps -> two streams at once -> air -MMSE-> x' -+ MLP(x', H)-> decoder

Of its two schemes this is multiplexing: behind the linear receiver, a small network for each use
of the channel adds what that receiver has left wrong. Diversity, Alamouti's code, has nothing that
learns outside the codec, and is a setting of the channel (``channel.mimo.scheme``); over it, and
over one antenna, this is the codec inside.

All of it learns through the image (``train codec --channel mimo``), the codec inside included,
which then meets streams of unequal quality. Differences from the paper: the codec is any that sends
its maps once, and knows both streams by the noise variance of each symbol, where attention
modules of the paper see two SNRs; the network sees x' instead of what the antennas heard, which
says as much once H is known, and the noise of both streams.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from simulator.errors import SettingsError
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.mimo import ANTENNAS
from simulator.jscc.residual import (
    MOST_VARIANCE,
    CorrectingCodec,
    in_rows,
    nothing,
    parts,
    with_correction,
)

INPUTS = 2 * ANTENNAS + 2 * ANTENNAS**2 + ANTENNAS  # x', H, the noise of x'


class SpaceTimeCodec(CorrectingCodec):
    """``width``: of the network's hidden layer."""

    name: ClassVar[str] = "space-time"
    learns_over: ClassVar[str] = "mimo"

    def __init__(self, codec: JsccCodec, width: int = 128) -> None:
        super().__init__(codec, width)
        last = nn.Linear(width, 2 * ANTENNAS)
        self.subnet = nn.Sequential(nn.Linear(INPUTS, width), nn.SiLU(), nothing(last))

    def improved(
        self, symbols: Tensor, csi: Csi, noise_variance: Tensor
    ) -> tuple[Tensor, Csi, Tensor]:
        if csi.mixing is not None:
            symbols = self.corrected(symbols, csi.mixing, noise_variance)
        return symbols, csi, noise_variance

    def corrected(self, symbols: Tensor, mixing: Tensor, noise_variance: Tensor) -> Tensor:
        """(B, K) symbols behind the linear receiver, unbiased, one stream after the other ->
        the same with less error. ``mixing``: (B, N_r, N) complex, from streams to antennas. Raises
        ``SettingsError`` for other antennas than those of the training."""
        if mixing.shape[1:] != (ANTENNAS, ANTENNAS):
            receive, streams = mixing.shape[1:]
            raise SettingsError(
                f"codec {self.name!r} corrects {ANTENNAS} streams at {ANTENNAS} antennas, not "
                f"{streams} at {receive}; set channel.mimo.transmit={ANTENNAS} and "
                f"channel.mimo.receive={ANTENNAS}, or use the codec inside."
            )
        x, v = (in_rows(each, ANTENNAS) for each in (symbols, noise_variance))
        own = mixing.flatten(1)[:, None].expand(*x.shape[:2], -1)
        seen = torch.cat([*parts(x / (1 + v), own), v.clamp(1e-6, MOST_VARIANCE).log10()], dim=2)
        real, imaginary = self.subnet(seen).float().chunk(2, dim=2)
        better = with_correction(x, v, torch.complex(real, imaginary)).flatten(1)
        return better[:, : symbols.shape[1]]
