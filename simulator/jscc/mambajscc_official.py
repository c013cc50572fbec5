"""``mambajscc-official``: MambaJSCC [17], [20] as its authors' public code has it, for weights of
theirs. ``mamba`` is this project's own, which differs.

    encoder  image -2x2 patches-> [blocks, merge] x stages -> [Channel ModNet (SNR in dB)]
             -linear-> C
    decoder  C -linear-> [Channel ModNet (SNR in dB)] -> [blocks, divide] x stages -> image

``adaptation`` is their word for how a network knows the SNR: ``ssm`` by its scans, ``attn`` by the
ModNets of WITT and SwinJSCC, ``no`` not at all. By its scans: their kernel reads a sequence in
pieces of 2048 cells, and after each of them the first of the states of a channel is no longer what
the scan has made of it, but the SNR in dB; the others go on. So an image with no more cells at any
stage, 128x64 pixels, is coded without the SNR. Scans go through the rows and back, or, with four
``directions``, through the columns and back, too.

Their simulation hands the receiver the power of the values before they were normalised. Here it is
side information, which is charged: 4 bytes. Their channel joins a value of the upper half of a map
and the one of the lower half to a symbol; of an odd number of maps an odd row is padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from simulator.errors import ModelError, SettingsError
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.mamba import Layers, MambaDecoder, MambaEncoder, Scan, ScanBlock, check_sizes
from simulator.jscc.one_ratio import received_snr
from simulator.jscc.power_side import read_powers, write_powers
from simulator.jscc.rates import Layout, cells_of, ratio_of
from simulator.jscc.selective_scan import selective_scan
from simulator.jscc.signal import Signal
from simulator.jscc.swin import ModNet

Adaptation = Literal["ssm", "attn", "no"]
PIECE = 2048  # cells


class OfficialScan(Scan):
    """``told``: whether it knows the SNR."""

    def __init__(self, width: int, states: int, directions: int, told: bool) -> None:
        super().__init__(width, states, directions)
        self.told = told

    def act(self, x: Tensor) -> Tensor:
        return F.gelu(x)

    def _scan(
        self, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, snr_db: Tensor
    ) -> Tensor:
        nothing = torch.zeros_like(snr_db)
        if not self.told or len(u) <= PIECE:
            return selective_scan(u, delta, a, b, c, nothing)
        others = selective_scan(u, delta, a[..., 1:], b[..., 1:], c[..., 1:], nothing)
        return others + self._restarted(u, delta, a[..., :1], b[..., :1], c[..., :1], snr_db)

    def _restarted(
        self, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, snr_db: Tensor
    ) -> Tensor:
        """Of the first state alone: pieces, which know nothing of one another, side by side."""
        length, count = len(u), -(-len(u) // PIECE)

        def pieces(x: Tensor) -> Tensor:
            """(L, G, N) -> (PIECE, P G, N)."""
            whole = F.pad(x, (0, 0, 0, 0, 0, count * PIECE - length))
            return whole.reshape(count, PIECE, *x.shape[1:]).transpose(0, 1).flatten(1, 2)

        first = snr_db.repeat(count)
        first[: len(snr_db)] = 0
        y = selective_scan(
            pieces(u), pieces(delta), a.repeat(count, 1, 1), pieces(b), pieces(c), first
        )
        return y.reshape(PIECE, count, *u.shape[1:]).transpose(0, 1).flatten(0, 1)[:length]


class OfficialDecoder(MambaDecoder):
    """(B, C, h, w), SNR (B,) in tens of dB -> (B, 3, h 2^D, w 2^D), about 0 to 1."""

    def forward(self, latent: Tensor, snr: Tensor) -> Tensor:
        return self.made(latent, snr)


class OfficialMambaCodec(JsccCodec):
    """The sizes of their configuration for DIV2K unless others are given. Without side information,
    as when a receiver warms up, values have the power of the symbols."""

    name: ClassVar[str] = "mambajscc-official"

    def __init__(
        self,
        c_channel: int = 32,
        adaptation: Adaptation = "ssm",
        directions: int = 2,
        widths: Sequence[int] = (128, 192, 256, 320),
        depths: Sequence[int] = (2, 2, 6, 2),
        states: int = 16,
    ) -> None:
        super().__init__()
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self._config = {k: list(v) if isinstance(v, list | tuple) else v for k, v in given.items()}
        check_sizes(self.name, widths, depths, states)
        if c_channel < 1 or directions not in (2, 4) or adaptation not in get_args(Adaptation):
            raise ModelError(
                f"{self.name}: {c_channel} maps, {directions} directions and adaptation "
                f"{adaptation!r}; give one map or more, two directions or four, and "
                f"{', '.join(get_args(Adaptation))}."
            )
        self.c_channel, self.n_downsample = c_channel, len(widths)
        self.bandwidth_ratio = ratio_of(c_channel, self.n_downsample)
        self.bandwidth_ratios = (self.bandwidth_ratio,)

        def block(width: int) -> ScanBlock:
            return ScanBlock(width, OfficialScan(width, states, directions, adaptation == "ssm"))

        nets = [ModNet(widths[-1]) if adaptation == "attn" else None for _ in range(2)]
        layers = Layers(c_channel, widths, depths, block)
        self.encoder = MambaEncoder(layers, nets[0])
        self.decoder = OfficialDecoder(layers, nets[1])

    @property
    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        return self.encoder(image, received_snr(csi))  # type: ignore[no-any-return]

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        return self.decoder(latent, received_snr(csi))  # type: ignore[no-any-return]

    def signal_of(self, image: Tensor, csi: Csi, budget: Fraction) -> Signal[Tensor]:
        values = self.pack(self.maps(image, csi, budget))
        power = values.detach().abs().square().mean(dim=1)
        return Signal(self.modulate(values), write_powers(power.tolist()))

    def restored(self, latent: Tensor, side: bytes) -> Tensor:
        if not side:
            return latent
        powers, rest = read_powers(side, len(latent))
        if rest:
            raise SettingsError(
                f"{len(rest)} bytes follow the powers in the side information: it is damaged, or "
                f"not of this codec."
            )
        return latent * torch.tensor(powers, device=latent.device).sqrt()[:, None, None, None]

    def pack(self, maps: Tensor) -> Tensor:
        """Row by row; the first half of all values, the upper rows, are the real parts."""
        real, imaginary = maps.transpose(1, 2).flatten(1).chunk(2, dim=1)
        return torch.complex(real, imaginary)

    def unpack(self, symbols: Tensor, layout: Layout) -> Tensor:
        values = torch.cat([symbols.real, symbols.imag], dim=1)
        rows = values.reshape(-1, layout.height, layout.channels, layout.width)
        return rows.transpose(1, 2)

    def layout(self, ratio: Fraction, size: tuple[int, int]) -> Layout:
        height, width = cells_of(size, self.n_downsample, self.min_cells)
        return Layout(self.c_channel, height + height * self.c_channel % 2, width)

    def layout_of_symbols(self, k: int, size: tuple[int, int]) -> Layout:
        layout = self.layout(self.bandwidth_ratio, size)
        if k != layout.k:
            raise SettingsError(
                f"{k} symbols do not fit a {size[1]}x{size[0]} image with codec {self.name!r}, "
                f"which takes {layout.k}."
            )
        return layout
