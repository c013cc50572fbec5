"""``swin-official``: the Swin codec of DiffJSCC's authors (their ``deepjscc_swin``), for weights of
theirs. One ratio a model, as ``cnn``; ``swin`` is SwinJSCC with both of its modulations.

    encoder  image -2x2 patches-> [blocks] -merge, blocks-> x (stages - 1) -norm-> ModNet (SNR)
             -linear-> C_out
    decoder  C_out -linear-> ModNet (SNR) -> [blocks, divide] x stages -sigmoid-> image

Symbols are packed along the last axis of (h, w, C_out / 2), where the other codecs pack from
(C_out / 2, h, w).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from simulator.errors import ModelError
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.one_ratio import received_snr
from simulator.jscc.rates import Layout, ratio_of
from simulator.jscc.swin import ModNet
from simulator.jscc.swin_blocks import PatchDivision, PatchMerging, SwinSizes


def stage(**parts: nn.Module | None) -> nn.Sequential:
    return nn.Sequential(OrderedDict((name, part) for name, part in parts.items() if part))


def merging_stages(sizes: SwinSizes) -> nn.Sequential:
    """(B, H, W, widths[0]) -> (B, H/2^(D-1), W/2^(D-1), widths[-1]): D stages, as the authors
    number them."""
    widths = sizes.widths
    return nn.Sequential(
        *(
            stage(
                merge=PatchMerging(widths[i - 1], width) if i else None,
                blocks=sizes.blocks(i),
            )
            for i, width in enumerate(widths)
        )
    )


def dividing_stages(sizes: SwinSizes) -> nn.Sequential:
    """(B, h, w, widths[0]) -> (B, h 2^D, w 2^D, 3)."""
    outputs = [*sizes.widths[1:], 3]
    return nn.Sequential(
        *(
            stage(blocks=sizes.blocks(i), divide=PatchDivision(width, outputs[i]))
            for i, width in enumerate(sizes.widths)
        )
    )


def check_halves(encoding: SwinSizes, decoding: SwinSizes, codec: str) -> None:
    """Raises ``ModelError`` where they are no encoder and decoder of the same maps."""
    for each in (encoding, decoding):
        each.check(codec)
    if len(encoding.widths) != len(decoding.widths):
        raise ModelError(f"codec {codec!r} needs as many stages in its decoder.")


class OfficialSwinEncoder(nn.Module):
    """(B, 3, H, W), (B,) SNR in dB -> (B, C_out, H/2^D, W/2^D)."""

    def __init__(self, channels: int, sizes: SwinSizes) -> None:
        super().__init__()
        widths = sizes.widths
        self.patches = nn.Conv2d(3, widths[0], 2, stride=2)
        self.stages = merging_stages(sizes)
        self.norm = nn.LayerNorm(widths[-1])
        self.snr = ModNet(widths[-1])
        self.head = nn.Linear(widths[-1], channels)

    def forward(self, image: Tensor, snr_db: Tensor) -> Tensor:
        x = self.norm(self.stages(self.patches(image).permute(0, 2, 3, 1)))
        return self.head(self.snr(x, snr_db)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class OfficialSwinDecoder(nn.Module):
    """(B, C_out, h, w), (B,) SNR in dB -> (B, 3, h 2^D, w 2^D) in [0, 1]."""

    def __init__(self, channels: int, sizes: SwinSizes) -> None:
        super().__init__()
        widths = sizes.widths
        self.head = nn.Linear(channels, widths[0])
        self.snr = ModNet(widths[0])
        self.stages = dividing_stages(sizes)

    def forward(self, latent: Tensor, snr_db: Tensor) -> Tensor:
        x = self.snr(self.head(latent.permute(0, 2, 3, 1)), snr_db)
        return self.stages(x).permute(0, 3, 1, 2).sigmoid()  # type: ignore[no-any-return]


class OfficialSwinCodec(JsccCodec):
    """Sizes of the encoder and, from the latent on, of the decoder: a number a stage in each."""

    name: ClassVar[str] = "swin-official"

    def __init__(
        self,
        c_channel: int = 4,
        widths: Sequence[int] = (128, 192, 256, 320),
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (4, 6, 8, 10),
        widths_d: Sequence[int] = (320, 256, 192, 128),
        depths_d: Sequence[int] = (2, 2, 2, 2),
        heads_d: Sequence[int] = (10, 8, 6, 4),
        window: int = 8,
    ) -> None:
        super().__init__()
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self._config = {k: v if isinstance(v, int) else list(v) for k, v in given.items()}
        sizes = SwinSizes(widths, depths, heads, window)
        decoding = SwinSizes(widths_d, depths_d, heads_d, window)
        check_halves(sizes, decoding, self.name)
        self.n_downsample = len(widths)
        self.bandwidth_ratio = ratio_of(c_channel, self.n_downsample)
        self.bandwidth_ratios = (self.bandwidth_ratio,)
        self.encoder = OfficialSwinEncoder(c_channel, sizes)
        self.decoder = OfficialSwinDecoder(c_channel, decoding)

    @property
    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        return self.encoder(image, 10 * received_snr(csi))  # type: ignore[no-any-return]

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        return self.decoder(latent, 10 * received_snr(csi))  # type: ignore[no-any-return]

    def pack(self, maps: Tensor) -> Tensor:
        packed = super().pack(maps)
        return reordered(packed, (maps.shape[1] // 2, maps.shape[2] * maps.shape[3]))

    def unpack(self, symbols: Tensor, layout: Layout) -> Tensor:
        shape = (layout.height * layout.width, layout.channels // 2)
        return super().unpack(reordered(symbols, shape), layout)


def reordered(symbols: Tensor, shape: tuple[int, int]) -> Tensor:
    """(B, K) of two axes, the other one first."""
    return symbols.reshape(-1, *shape).transpose(1, 2).reshape(symbols.shape)
