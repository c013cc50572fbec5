"""``swinjscc-official``: WITT [18] and SwinJSCC [19] as their authors' public code has them, for
weights of theirs. ``witt`` and ``swin`` are this project's own, which differ (head of ``swin``).

    encoder  image -2x2 patches-> [blocks] -merge, blocks-> x (stages - 1) -norm->
             [Channel ModNet (SNR in dB)] -> [Rate ModNet (C), the C strongest maps] or -linear-> C
    decoder  [C maps, zeros for the others] or -linear-> [Channel ModNet (SNR in dB)]
             -> [blocks, divide] x stages -> image

``snr`` and ``rate`` say which ModNets there are: WITT, and SwinJSCC w/ SA, have the first; SwinJSCC
w/ RA the second, w/ SA&RA both, w/o either none.

What the authors' simulation hands the receiver, the receiver needs here, too, and it is charged
as side information: the power of the values before they were normalised (4 bytes), and, with a Rate
ModNet, which maps were sent (``subset``; 19 bytes for 32 of 320). The published bandwidth
ratios leave both out.

The strongest maps are those whose gates have the largest sum over the image. Where training drove
gates to 1, sums are equal, and which of the equal ones are sent is what the sort of the authors'
torch made of them (``bitonic``): their networks know no other maps. Under torch 1.13 and later
their code takes other ones, and loses up to 8 dB, except where all equal ones are sent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from simulator.errors import ModelError, SettingsError
from simulator.jscc.bitonic import SIZES, bitonic_order
from simulator.jscc.codec import JsccCodec, pad_to
from simulator.jscc.csi import Csi
from simulator.jscc.one_ratio import received_snr
from simulator.jscc.power_side import read_powers, write_powers
from simulator.jscc.range_coder import DamagedError
from simulator.jscc.rates import Layout, ratio_of
from simulator.jscc.signal import Signal
from simulator.jscc.subset import read_subset, subset_bytes, write_subset
from simulator.jscc.swin import ModNet
from simulator.jscc.swin_blocks import SwinBlock, SwinSizes
from simulator.jscc.swin_official import check_halves, dividing_stages, merging_stages

CHANNELS = (32, 64, 96, 128, 192)  # of the published models with a Rate ModNet


class Encoder(nn.Module):
    """(B, 3, H, W), (B,) SNR in dB, C -> (B, h, w, C or widths[-1]) and, with a Rate ModNet, the
    sum of the gates of each map (B, widths[-1])."""

    def __init__(self, sizes: SwinSizes, channels: int, snr: bool, rate: bool) -> None:
        super().__init__()
        width = sizes.widths[-1]
        self.patches = nn.Conv2d(3, sizes.widths[0], 2, stride=2)
        self.stages = merging_stages(sizes)
        self.norm = nn.LayerNorm(width)
        self.snr = ModNet(width) if snr else None
        self.rate = ModNet(width) if rate else None
        self.head = None if rate else nn.Linear(width, channels)

    def forward(self, image: Tensor, snr_db: Tensor, channels: int) -> tuple[Tensor, Tensor | None]:
        x = self.norm(self.stages(self.patches(image).permute(0, 2, 3, 1)))
        if self.snr is not None:
            x = self.snr(x, snr_db)
        if self.head is not None:
            return self.head(x), None
        assert self.rate is not None
        gate = self.rate.gate(x, torch.full_like(snr_db, float(channels)))
        return x * gate, gate.float().flatten(1, 2).sum(dim=1)


class Decoder(nn.Module):
    """(B, h, w, C or widths[0]), (B,) SNR in dB -> (B, 3, h 2^D, w 2^D), about 0 to 1."""

    def __init__(self, sizes: SwinSizes, channels: int, snr: bool, rate: bool) -> None:
        super().__init__()
        width = sizes.widths[0]
        self.head = None if rate else nn.Linear(channels, width)
        self.snr = ModNet(width) if snr else None
        self.stages = dividing_stages(sizes)

    def forward(self, x: Tensor, snr_db: Tensor) -> Tensor:
        if self.head is not None:
            x = self.head(x)
        if self.snr is not None:
            x = self.snr(x, snr_db)
        return self.stages(x).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class OfficialSwinJsccCodec(JsccCodec):
    """Sizes of the encoder and, from the latent on, of the decoder: a number a stage in each.

    ``channels``: maps that are sent, one number without a Rate ModNet. Without side information, as
    when a receiver warms up, values have the power of the symbols and the maps are the first ones.
    """

    name: ClassVar[str] = "swinjscc-official"

    def __init__(
        self,
        channels: Sequence[int] = CHANNELS,
        snr: bool = True,
        rate: bool = True,
        widths: Sequence[int] = (128, 192, 256, 320),
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (4, 6, 8, 10),
        widths_d: Sequence[int] = (320, 256, 192, 128),
        depths_d: Sequence[int] = (2, 6, 2, 2),
        heads_d: Sequence[int] = (10, 8, 6, 4),
        window: int = 8,
    ) -> None:
        super().__init__()
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self._config = {k: list(v) if isinstance(v, Sequence) else v for k, v in given.items()}
        sizes = SwinSizes(widths, depths, heads, window)
        decoding = SwinSizes(widths_d, depths_d, heads_d, window)
        check_halves(sizes, decoding, self.name)
        self.rate, self.width = rate, widths[-1]
        if rate and (widths[-1] != widths_d[0] or widths[-1] > SIZES[-1]):
            raise ModelError(
                f"{self.name}: with a Rate ModNet the decoder takes the {widths[-1]} maps of the "
                f"encoder, {SIZES[-1]} at most."
            )
        most = self.width if rate else math.inf
        rising = list(channels) == sorted(set(channels))
        if not channels or not rising or any(c % 2 or not 0 < c <= most for c in channels):
            raise ModelError(f"{self.name}: channels are even, rising and at most {most}.")
        if not rate and len(channels) != 1:
            raise ModelError(f"{self.name}: without a Rate ModNet there is one number of channels.")
        self.n_downsample = len(widths)
        self.bandwidth_ratios = tuple(ratio_of(c, self.n_downsample) for c in channels)
        self.bandwidth_ratio = self.bandwidth_ratios[0]
        self.encoder = Encoder(sizes, channels[0], snr, rate)
        self.decoder = Decoder(decoding, channels[0], snr, rate)
        for module in self.modules():
            if isinstance(module, SwinBlock):
                module.lone_shift = True

    @property
    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        return self._chosen(image, csi, channels)[0]

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        if self.rate:
            latent = nn.functional.pad(latent, (0, 0, 0, 0, 0, self.width - latent.shape[1]))
        return self.decoder(latent.permute(0, 2, 3, 1), 10 * received_snr(csi))  # type: ignore[no-any-return]

    def signal_of(self, image: Tensor, csi: Csi, budget: Fraction) -> Signal[Tensor]:
        layout = self.layout(budget, (image.shape[-2], image.shape[-1]))
        cell = 2**self.n_downsample
        padded = pad_to(image, (layout.height * cell, layout.width * cell))
        maps, places = self._chosen(padded, csi, layout.channels)
        values = self.pack(maps.float())
        side = write_powers(values.detach().abs().square().mean(dim=1).tolist())
        side += b"".join(write_subset(each, self.width) for each in places)
        return Signal(self.modulate(values), side)

    def restored(self, latent: Tensor, side: bytes) -> Tensor:
        """With their power, and with a Rate ModNet in their places among all maps."""
        if not side:
            return latent
        powers, side = read_powers(side, len(latent))
        maps = latent * torch.tensor(powers, device=latent.device).sqrt()[:, None, None, None]
        places = self._places(side, len(maps), maps.shape[1])
        if not places:
            return maps
        index = torch.tensor(places, device=maps.device)[:, :, None, None].expand(maps.shape)
        return maps.new_zeros(len(maps), self.width, *maps.shape[2:]).scatter(1, index, maps)

    def pack(self, maps: Tensor) -> Tensor:
        """Cell by cell; the first half of all values are the real parts."""
        real, imaginary = maps.permute(0, 2, 3, 1).flatten(1).chunk(2, dim=1)
        return torch.complex(real, imaginary)

    def unpack(self, symbols: Tensor, layout: Layout) -> Tensor:
        values = torch.cat([symbols.real, symbols.imag], dim=1)
        grid = values.reshape(-1, layout.height, layout.width, layout.channels)
        return grid.permute(0, 3, 1, 2)

    def _chosen(self, image: Tensor, csi: Csi, channels: int) -> tuple[Tensor, list[list[int]]]:
        """(B, C, h, w) of the maps that are sent, and with a Rate ModNet their places in each
        image."""
        x, strength = self.encoder(image, 10 * received_snr(csi), channels)
        maps = x.permute(0, 3, 1, 2)
        if strength is None:
            return maps, []
        places = bitonic_order(strength)[:, :channels].sort(dim=1).values
        index = places[:, :, None, None].expand(-1, -1, *maps.shape[2:])
        return maps.gather(1, index), places.tolist()

    def _places(self, side: bytes, batch: int, channels: int) -> list[list[int]]:
        """Which maps ``side`` says were sent, for each image. Raises ``SettingsError``."""
        each = subset_bytes(channels, self.width) if self.rate else 0
        if len(side) != batch * each:
            raise SettingsError(
                f"{len(side)} bytes of side information follow its powers, not {batch * each}: it "
                f"is damaged, or not of this codec."
            )
        try:
            return [
                read_subset(side[i : i + each], channels, self.width)
                for i in range(0, len(side), each or 1)
            ]
        except DamagedError as error:
            raise SettingsError(f"the side information cannot be read: {error}.") from None
