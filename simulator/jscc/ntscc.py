"""``ntscc`` [24]: nonlinear transform source-channel coding. Each part of an image has a rate of
its own, by the bits that it would cost to compress.

Dai, Wang, Tan, Si, Qin, Niu, Zhang, "Nonlinear Transform Source-Channel Coding for Semantic
Communications", IEEE JSAC 2022.

    image -analysis-> y, a cell for 16x16 pixels -hyperprior-> bits of each cell
    values of a cell = eta x bits, the nearest of ``rates``;   y -JSCC encoder-> values
    the cells' symbols one after the other -channel-> -JSCC decoder-> y -synthesis-> image

The receiver needs the rate of each cell. It comes as side information, which the link charges: the
numbers of the rates, coded in whole numbers alone (``rate_map``). Bits of the hyperprior are
computed in floating point, whose last digit differs from machine to machine; nothing that the
receiver computes depends on them, so that z is not sent at all, unlike in variants of the paper
whose decoder uses it. No side information means that all cells have one rate, which the number of
symbols tells.

What is asked for as bandwidth ratio is the budget. An image that needs more is sent with a smaller
eta, the largest that fits. Training pays for the bits,

    MSE + MSE of the transforms alone + price / 255^2 (eta bpp_y + bpp_z / (3 log2(1 + 10))),

where ``price`` is lambda of the paper, whose errors are of 0 to 255, and z is charged as if a
perfect code brought it at 10 dB: free, it would say everything, and y would seem to have no bits.
What differs from the paper: the SNR of the image is an input of both ends, and the receiver weights
each symbol by its noise variance, 1 / (1 + variance), because channels here change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from simulator.errors import ModelError, SettingsError
from simulator.images import MAX_PIXELS
from simulator.jscc.air import Air
from simulator.jscc.codec import JsccCodec, pad_to, variance_of
from simulator.jscc.csi import Csi
from simulator.jscc.ntscc_networks import Receiver, Sizes, Transmitter
from simulator.jscc.one_ratio import received_snr
from simulator.jscc.range_coder import DamagedError
from simulator.jscc.rate_map import read_map, write_map
from simulator.jscc.rates import cells_of, ratio_of
from simulator.jscc.signal import Signal
from simulator.jscc.swin_blocks import SwinSizes
from simulator.link.constants import MAX_SIDE_BYTES
from simulator.phy.power import TINY_POWER

RATES = tuple(range(16, 257, 16))
MOST_RATES, MOST_VALUES = 64, 1024
HALVINGS = 24  # of the interval in which eta is looked for
Z_BITS = math.log2(1 + 10)  # that a channel use brings at 10 dB


class NtsccCodec(JsccCodec):
    """The sizes of the paper unless others are given; one number a stage in ``widths``, ``depths``
    and ``heads``.

    ``rates``: real values of a cell, even and rising; 0 may be the first. Their mean ratios are the
    budgets that can be asked for. ``shared``: cells in a row and column that have one rate, for
    less side information. A batch is sent as long as its longest image; ones follow the others.
    """

    name: ClassVar[str] = "ntscc"
    draws: ClassVar[bool] = True
    logarithmic = False
    encoder: Any  # the authors' own networks, in ``ntscc_official``
    decoder: Any

    def __init__(
        self,
        rates: Sequence[int] = RATES,
        widths: Sequence[int] = (256, 256, 256, 256),
        depths: Sequence[int] = (1, 1, 2, 4),
        heads: Sequence[int] = (8, 8, 8, 8),
        window: int = 8,
        jscc_depth: int = 4,
        hyper: int = 192,
        eta: float = 0.2,
        price: float = 64.0,
        shared: int = 1,
    ) -> None:
        super().__init__()
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self._config = {k: list(v) if isinstance(v, Sequence) else v for k, v in given.items()}
        transform = SwinSizes(widths, depths, heads, window)
        transform.check(self.name)
        if min(window, hyper, shared) < 1 or min(*depths, jscc_depth) < 0:
            raise ModelError("ntscc: window, hyper and shared from 1, depths from 0.")
        if not eta > 0 or not price >= 0:
            raise ModelError("ntscc: eta is above 0, and price is not negative.")
        self.price, self.shared = price, shared
        self._rate(rates, eta, len(widths))
        sizes = Sizes(transform, jscc_depth, hyper, rates)
        self.encoder, self.decoder = Transmitter(sizes), Receiver(sizes)

    def _rate(self, rates: Sequence[int], eta: float, n_downsample: int) -> None:
        """Rates, and what follows from them. Raises ``ModelError`` for rates that cannot be."""
        rising = list(rates) == sorted(set(rates))
        if not rising or any(rate % 2 or not 0 <= rate <= MOST_VALUES for rate in rates):
            raise ModelError(f"{self.name}: rates are even, rising and from 0 to {MOST_VALUES}.")
        if not 2 <= len(rates) <= MOST_RATES:
            raise ModelError(f"{self.name}: {len(rates)} rates; give 2 to {MOST_RATES}.")
        self.rates, self.eta, self.n_downsample = tuple(rates), eta, n_downsample
        self.bandwidth_ratios = tuple(ratio_of(rate, n_downsample) for rate in rates if rate)
        self.bandwidth_ratio = self.bandwidth_ratios[-1]

    @property
    def config(self) -> dict[str, Any]:
        return dict(self._config)

    @property
    def trained_ratios(self) -> tuple[Fraction, ...]:
        """The largest budget, within which the price decides."""
        return self.bandwidth_ratios[-1:]

    # -- all cells at one rate ---------------------------------------------------------------

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        y = self.encoder.analysis(image)
        numbers = torch.full(y.shape[:3], self.rates.index(channels), device=y.device)
        return self._values_of(y, numbers, csi)[..., :channels].permute(0, 3, 1, 2)

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        values = (latent / (1 + noise_variance)).permute(0, 2, 3, 1)
        number = self.rates.index(latent.shape[1])
        numbers = torch.full(values.shape[:3], number, device=values.device)
        return self._image(F.pad(values, (0, self.rates[-1] - latent.shape[1])), numbers, csi)

    def pack(self, maps: Tensor) -> Tensor:
        """Cell by cell; values 2 i and 2 i + 1 of a cell are the parts of one symbol."""
        cells = maps.permute(0, 2, 3, 1).flatten(1, 2)
        return torch.complex(cells[..., 0::2], cells[..., 1::2]).flatten(1)

    def unpack(self, symbols: Tensor, layout: Any) -> Tensor:
        cells = symbols.reshape(len(symbols), layout.height, layout.width, -1)
        return real_parts(cells).permute(0, 3, 1, 2)

    # -- each cell at its own ----------------------------------------------------------------

    def signal_of(self, image: Tensor, csi: Csi, budget: Fraction) -> Signal[Tensor]:
        y = self._latent(image)
        bits, _ = self.encoder.prior(y, None)
        blocks = self.numbers_of(bits, budget)
        numbers = self._spread(blocks, y.shape[1:3])
        counts, places = self._places(numbers)
        symbols, power = self._sent(self._values_of(y, numbers, csi), places, counts)
        return Signal(symbols[:, : int(counts.max())], self._side_of(blocks, power))

    def image_of(
        self,
        symbols: Tensor,
        csi: Csi,
        noise_variance: Tensor,
        size: tuple[int, int],
        side: bytes,
    ) -> Tensor:
        symbols, side = self._powered(symbols, side)
        if not side:
            return super().image_of(symbols, csi, noise_variance, size, side)
        blocks = self._blocks_of(side, len(symbols), size)
        cells = cells_of(size, self.n_downsample, self.min_cells)
        numbers = self._spread(blocks.to(symbols.device), cells)
        counts, places = self._places(numbers)
        if int(counts.max()) != symbols.shape[1]:
            raise SettingsError(
                f"the side information tells of {int(counts.max())} symbols, but "
                f"{symbols.shape[1]} came: it is damaged, or not of this codec."
            )
        return self._image(self._values(symbols, noise_variance, places), numbers, csi)

    def trained_through(
        self, image: Tensor, air: Air, bandwidth_ratio: Fraction
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As it is sent and received, but that places behind the last symbol stay empty."""
        generator = torch.Generator().manual_seed(air.seed)
        size = (image.shape[-2], image.shape[-1])
        y = self._latent(image)
        bits, bits_z = self.encoder.prior(y, generator)
        numbers = self._spread(self.numbers_of(bits.detach(), bandwidth_ratio), y.shape[1:3])
        counts, places = self._places(numbers)
        symbols, _ = self._sent(self._values_of(y, numbers, air.encoder), places, counts)
        got = air.send(symbols[:, : self.k(bandwidth_ratio, size)])
        noise = variance_of(air.decoder) if got.noise_variance is None else got.noise_variance
        values = self._values(got.received, noise.expand(got.received.shape), places)
        made = self._image(values, numbers, air.decoder)
        noisy = y + torch.rand(y.shape, generator=generator).to(y.device) - 0.5
        alone = self.decoder.synthesis(noisy)[..., : size[0], : size[1]].float()
        pixels = bits[0].numel() * 4**self.n_downsample
        paid = self.eta * bits.sum(dim=(1, 2)) / pixels + bits_z / (3 * Z_BITS * pixels)
        terms = {
            "transform": (alone - image).square().mean(),
            "rate": self.price / 255**2 * paid.mean(),
        }
        return made[..., : size[0], : size[1]], terms

    def numbers_of(self, bits: Tensor, budget: Fraction) -> Tensor:
        """(B, h, w) bits of each cell -> (B, h', w') number of the rate of each block, such that
        the mean of all cells is within ``budget``."""
        height, width = bits.shape[1:]
        most = int(budget / ratio_of(1, self.n_downsample)) * height * width
        short = (0, -width % self.shared, 0, -height % self.shared)
        mean = F.avg_pool2d(F.pad(bits[:, None], short, mode="replicate"), self.shared)[:, 0]
        rates = torch.tensor(self.rates, device=bits.device)
        edges = self._edges(rates)

        def numbers(eta: Tensor) -> Tensor:
            return torch.bucketize((mean * eta[:, None, None]).contiguous(), edges)

        def fits(eta: Tensor) -> Tensor:
            values: Tensor = rates[self._spread(numbers(eta), bits.shape[1:])].sum(dim=(1, 2))
            return values <= most

        high = torch.full((len(bits),), self.eta, device=bits.device)
        low = torch.where(fits(high), high, torch.zeros_like(high))
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            good = fits(middle)
            low, high = torch.where(good, middle, low), torch.where(good, high, middle)
        chosen = numbers(low)
        if self.rates[0] == 0:  # something has to be sent
            nothing = (chosen == 0).flatten(1).all(dim=1)
            chosen[:, 0, 0] = torch.where(nothing, 1, chosen[:, 0, 0])
        return chosen

    def _powered(self, symbols: Tensor, side: bytes) -> tuple[Tensor, bytes]:
        """Symbols, and the map of the rates, for a codec whose side information says more."""
        return symbols, side

    def _edges(self, rates: Tensor) -> Tensor:
        """Values that a cell wants, at which the next rate begins: here the nearest is taken."""
        return (rates[1:] + rates[:-1]).float() / 2

    def _values_of(self, y: Tensor, numbers: Tensor, csi: Csi) -> Tensor:
        """(B, h, w, most) of any power."""
        return self.encoder.jscc(y, numbers, received_snr(csi)).float()  # type: ignore[no-any-return]

    def _latent(self, image: Tensor) -> Tensor:
        cell = 2**self.n_downsample
        rows, columns = cells_of((image.shape[-2], image.shape[-1]), self.n_downsample, 1)
        return self.encoder.analysis(pad_to(image, (rows * cell, columns * cell)))  # type: ignore[no-any-return]

    def _spread(self, blocks: Tensor, cells: Sequence[int]) -> Tensor:
        """(B, h', w') -> (B, h, w): each block's number to its cells."""
        if self.shared > 1:
            blocks = blocks.repeat_interleave(self.shared, 1).repeat_interleave(self.shared, 2)
        return blocks[:, : cells[0], : cells[1]]

    def _places(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """(B, h, w) -> symbols of each image (B,), and (B, h w most/2) where each possible symbol
        of a cell is sent; behind the last place where it is not."""
        half = torch.tensor(self.rates, device=numbers.device)[numbers].flatten(1) // 2
        slots = torch.arange(self.rates[-1] // 2, device=numbers.device)
        sent = (slots < half[..., None]).flatten(1)
        return half.sum(dim=1), torch.where(sent, sent.cumsum(dim=1) - 1, sent.shape[1])

    def _sent(self, values: Tensor, places: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """(B, h w most/2) symbols of mean power 1, in their places, ones behind them; and the power
        that they had (B,)."""
        values = values.flatten(1, 2)
        symbols = torch.complex(values[..., 0::2], values[..., 1::2]).flatten(1)
        power = symbols.abs().square().sum(dim=1) / counts + TINY_POWER
        symbols = symbols * power.rsqrt()[:, None]
        behind = torch.ones_like(symbols[:, :1]).expand(-1, symbols.shape[1] + 1)
        return behind.scatter(1, places, symbols)[:, :-1], power

    def _values(self, symbols: Tensor, noise_variance: Tensor, places: Tensor) -> Tensor:
        """(B, K) as received -> (B, h w, most), zeros where nothing was sent."""
        weighed = F.pad(symbols / (1 + noise_variance), (0, 1))  # what is not sent reads a zero
        got = weighed.gather(1, places.clamp(max=symbols.shape[1]))
        return real_parts(got.reshape(len(got), -1, self.rates[-1] // 2))

    def _image(self, values: Tensor, numbers: Tensor, csi: Csi) -> Tensor:
        grid = values.reshape(*numbers.shape, -1)
        y = self.decoder.jscc(grid, numbers, received_snr(csi))
        return self.decoder.synthesis(y)  # type: ignore[no-any-return]

    # -- side information --------------------------------------------------------------------

    def _side_of(self, blocks: Tensor, power: Tensor) -> bytes:
        """(B, h', w') -> bytes, the maps below one another; none where all numbers are the same.
        ``power``: see ``_sent``; a decoder that needs it has side information of its own."""
        if bool((blocks == blocks[0, 0, 0]).all()):
            return b""
        side = write_map(blocks.flatten(0, 1).cpu().numpy(), len(self.rates))
        if len(side) > MAX_SIDE_BYTES:
            raise SettingsError(
                f"the rates of this image take {len(side)} bytes of side information, more than "
                f"{MAX_SIDE_BYTES}; send it smaller, or train a codec with a larger shared=."
            )
        return side

    def _blocks_of(self, side: bytes, batch: int, size: tuple[int, int]) -> Tensor:
        """The inverse of ``_side_of``. Raises ``SettingsError`` before it computes what a frame of
        a few bytes only claims to be."""
        if size[0] * size[1] > MAX_PIXELS or len(side) > MAX_SIDE_BYTES:
            raise SettingsError(
                f"{len(side)} bytes of side information for {size[1]}x{size[0]} pixels: ntscc "
                f"takes up to {MAX_SIDE_BYTES} and {MAX_PIXELS} pixels."
            )
        cells = cells_of(size, self.n_downsample, self.min_cells)
        rows, columns = (-(-each // self.shared) for each in cells)
        try:
            numbers = read_map(side, (batch * rows, columns), len(self.rates))
        except DamagedError as error:
            raise SettingsError(
                f"the side information ({len(side)} bytes) cannot be read: {error}; it is "
                f"damaged, or not of this codec."
            ) from None
        return torch.from_numpy(numbers).reshape(batch, rows, columns)


def real_parts(symbols: Tensor) -> Tensor:
    """(..., N) complex -> (..., 2 N), as ``torch.complex`` of every second one took them."""
    return torch.view_as_real(symbols.contiguous()).flatten(-2)
