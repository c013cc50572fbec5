"""``ntscc-official``: NTSCC [24] as its authors' public code has it, for weights of theirs whose
receiver does without z ("w/o z"). ``ntscc`` is this project's own, which differs.

What is theirs here: the networks (``ntscc_official_networks``); the rate of a cell is the smallest
that is no less than eta x bits; the SNR is no input; the power of an image's values before they
were normalised is handed over, 4 bytes, which are charged with the map of rates as side
information. They count 4 bits a cell for the map and nothing for the power; here the map is
coded (``rate_map``). A checkpoint does not hold eta: 0.2 is that of their configuration.

Their channel takes values map by map, this one cell by cell, which is the same over white noise.
Within a smaller budget than the largest, eta is lowered for an image that needs more, as ``ntscc``
does. Without side information, as when a receiver warms up, all cells have one rate, and values the
power of the symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor

from simulator.errors import ModelError
from simulator.jscc.air import Air
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.ntscc import NtsccCodec
from simulator.jscc.ntscc_official_networks import Receiver, Sizes, Transmitter
from simulator.jscc.power_side import read_powers, write_powers
from simulator.jscc.swin_blocks import SwinSizes
from simulator.jscc.swin_official import check_halves

RATES = (16, 32, 48, 64, 80, 96, 102, 118, 134, 160, 186, 192, 208, 224, 240, 256)


class OfficialNtsccCodec(NtsccCodec):
    """Sizes of the analysis and, from the latent on, of the synthesis (``_d``), and of the blocks
    of JSCC encoder (``_fe``) and decoder (``_fd``); a number a stage in each.

    ``hyper``: maps of z; ``rising``: maps between z and the parameters of y.
    """

    name: ClassVar[str] = "ntscc-official"
    draws: ClassVar[bool] = False

    def __init__(
        self,
        widths: Sequence[int] = (256, 256, 256, 256),
        depths: Sequence[int] = (1, 1, 2, 4),
        heads: Sequence[int] = (8, 8, 8, 8),
        widths_d: Sequence[int] = (256, 256, 256, 256),
        depths_d: Sequence[int] = (4, 2, 1, 1),
        heads_d: Sequence[int] = (8, 8, 8, 8),
        rates: Sequence[int] = RATES,
        window: int = 8,
        depths_fe: Sequence[int] = (4,),
        heads_fe: Sequence[int] = (8,),
        depths_fd: Sequence[int] = (4,),
        heads_fd: Sequence[int] = (8,),
        window_jscc: int = 16,
        hyper: int = 192,
        rising: Sequence[int] = (256, 384),
        eta: float = 0.2,
    ) -> None:
        JsccCodec.__init__(self)
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self._config = {k: list(v) if isinstance(v, Sequence) else v for k, v in given.items()}
        self._rate(rates, eta, len(widths))
        self.shared = 1
        analysis = SwinSizes(widths, depths, heads, window)
        synthesis = SwinSizes(widths_d, depths_d, heads_d, window)
        check_halves(analysis, synthesis, self.name)
        ends = [
            SwinSizes([width] * len(depth), depth, head, window_jscc)
            for width, depth, head in (
                (widths[-1], depths_fe, heads_fe),
                (widths_d[0], depths_fd, heads_fd),
            )
        ]
        for each in ends:
            each.check(self.name)
        if widths[-1] != widths_d[0] or len(rising) != 2 or hyper < 1 or not eta > 0:
            raise ModelError(
                f"{self.name}: both transforms have as wide a latent, there are two numbers of "
                f"rising maps, hyper is from 1, and eta is above 0."
            )
        sizes = Sizes(analysis, synthesis, ends[0], ends[1], hyper, rising, self.rates)
        self.encoder, self.decoder = Transmitter(sizes), Receiver(sizes)

    def trained_through(
        self, image: Tensor, air: Air, bandwidth_ratio: Fraction
    ) -> tuple[Tensor, dict[str, Tensor]]:
        raise ModelError(f"{self.name} is for weights that exist; train ntscc instead.")

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        # Values are not weighed by their noise.
        return super().synthesise(latent, csi, torch.zeros_like(noise_variance))

    def _powered(self, symbols: Tensor, side: bytes) -> tuple[Tensor, bytes]:
        if not side:
            return symbols, side
        powers, side = read_powers(side, len(symbols))
        return symbols * torch.tensor(powers, device=symbols.device).sqrt()[:, None], side

    def _values(self, symbols: Tensor, noise_variance: Tensor, places: Tensor) -> Tensor:
        return super()._values(symbols, torch.zeros_like(noise_variance), places)

    def _edges(self, rates: Tensor) -> Tensor:
        return rates[:-1].float()

    def _values_of(self, y: Tensor, numbers: Tensor, csi: Csi) -> Tensor:
        return self.encoder.jscc(y, self.encoder.prior.likelihoods(y), numbers).float()  # type: ignore[no-any-return]

    def _image(self, values: Tensor, numbers: Tensor, csi: Csi) -> Tensor:
        y = self.decoder.jscc(values.reshape(*numbers.shape, -1), numbers)
        return self.decoder.synthesis(y)  # type: ignore[no-any-return]

    def _side_of(self, blocks: Tensor, power: Tensor) -> bytes:
        return write_powers(power.tolist()) + super()._side_of(blocks, power)
