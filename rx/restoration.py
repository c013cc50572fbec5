"""Restoration of a preview in one pass, before diffusion or instead of it.

    preview -+- shrunk by 4 (a filter that is learnt) --- conv -+
             +- its 4x4 pixels and the noise level ------ conv -+-> RRDB x 23 -> x2 -> x2 -> image

Residual-in-residual dense blocks (Wang et al. 2018, "ESRGAN"), as DiffBIR has a restoration network
before its diffusion, for the same reason: a condition without the codec's cells and noise. The
second branch starts at zero, so that a super-resolution network by four is a start that already
works; the small network has that branch alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rx.color import anchored
from rx.tiling import tiled
from simulator.errors import SettingsError
from simulator.jscc.codec import pad_to
from simulator.jscc.csi import Csi

SHRINK = 4
LANCZOS = 3  # lobes of the filter that the shrinking starts as
CLIP_DB = 20.0  # beyond this SNR the level is clipped
RESIDUE = 0.2  # weight of what a block adds
# In half precision these stay in float32, for a hundredth of the arithmetic: bfloat16 has 8 bits of
# mantissa, and what is read and written here are 8-bit pixels.
ENDS = ("whole", "shrink", "first", "out")


def lanczos_kernel(shrink: int = SHRINK) -> Tensor:
    """(2 a s, 2 a s): what makes an image ``s`` times smaller, a = ``LANCZOS``; sums to 1."""
    x = (torch.arange(2 * LANCZOS * shrink) + 0.5) / shrink - LANCZOS
    line = torch.sinc(x) * torch.sinc(x / LANCZOS)
    line = line / line.sum()
    return torch.outer(line, line)


def noise_level(csi: Csi) -> Tensor:
    """(B,): SNR after equalisation under gain h, clipped, in 10 dB."""
    snr_db = csi.snr_db + 20 * csi.gain.abs().clamp_min(1e-6).log10()
    return snr_db.float().clamp(-CLIP_DB, CLIP_DB) / 10


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def fitting(x: Tensor, network: nn.Conv2d) -> Tensor:
    """``x`` in the precision of a convolution's weights. Autocast sees to that by itself."""
    return x if torch.is_autocast_enabled(x.device.type) else x.to(network.weight.dtype)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees the outputs of all before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv(width + i * growth, growth) for i in range(4))
        self.last = conv(width + 4 * growth, width)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for each in self.convs:
            seen = torch.cat([seen, F.leaky_relu(each(seen), 0.2)], dim=1)
        return x + RESIDUE * self.last(seen)  # type: ignore[no-any-return]


class ResidualDenseBlocks(nn.Module):
    """Three dense blocks inside a residual (RRDB)."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(DenseBlock(width, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for block in self.blocks:
            y = block(y)
        return x + RESIDUE * y


def restored(
    network: Callable[[Tensor, Csi], Tensor],
    image: Tensor,
    csi: Csi,
    tile: int | None,
    fidelity: float = 0.0,
) -> Tensor:
    """(B, 3, H, W) previews -> fp32 in [0, 1]; ``tile``: side of overlapping tiles in pixels.

    ``fidelity``: from what the network makes, 0, to ``anchored`` on the preview, 1. Raises
    ``SettingsError``.
    """
    if not 0 <= fidelity <= 1:
        raise SettingsError(f"fidelity={fidelity:g}: give 0 to 1.")
    height, width = image.shape[-2:]
    whole = pad_to(image, (-(-height // SHRINK) * SHRINK, -(-width // SHRINK) * SHRINK))
    side = None if tile is None else max(1, tile // SHRINK)

    def run(piece: Tensor, top: int, left: int) -> Tensor:
        made: Tensor = network(piece, csi)
        return made

    made = tiled(run, whole, side, (SHRINK, SHRINK))
    made = made[..., :height, :width].float()
    if fidelity:
        made = torch.lerp(made, anchored(made, image.float()), fidelity)
    return made.clamp(0, 1)


class Restoration(nn.Module):
    """(B, 3, H, W) preview in [0, 1] and its channel state -> (B, 3, H, W), about [0, 1].

    ``small``: no full-size convolutions at the end and no super-resolution start; the output is
    what is added to the preview.
    """

    def __init__(
        self, width: int = 64, growth: int = 32, blocks: int = 23, small: bool = False
    ) -> None:
        super().__init__()
        self.small = small
        self.whole = conv(3 * SHRINK**2 + 1, width)
        self.body = nn.ModuleList(ResidualDenseBlocks(width, growth) for _ in range(blocks))
        self.after = conv(width, width)
        if small:
            self.out = conv(width, 3 * SHRINK**2)
        else:
            kernel = lanczos_kernel()
            side = len(kernel)
            self.shrink = nn.Conv2d(3, 3, side, stride=SHRINK, groups=3, bias=False)
            self.shrink.weight.data.copy_(kernel.expand(3, 1, side, side))
            self.first = conv(3, width)
            self.up1, self.up2 = conv(width, width), conv(width, width)
            self.detail, self.out = conv(width, width), conv(width, 3)
            for parameter in self.whole.parameters():
                nn.init.zeros_(parameter)

    def in_precision(self, dtype: torch.dtype) -> Restoration:
        """This network in another precision, all but its ends."""
        for name, network in self.named_children():
            network.to(torch.float32 if name in ENDS else dtype)
        return self

    def forward(self, preview: Tensor, csi: Csi) -> Tensor:
        size = (preview.shape[-2], preview.shape[-1])
        height, width = (-(-side // SHRINK) * SHRINK for side in size)
        image = fitting(pad_to(preview, (height, width)), self.whole)
        level = noise_level(csi).to(image)[:, None, None, None]
        plane = level.expand(-1, 1, height // SHRINK, width // SHRINK)
        x = self.whole(torch.cat([F.pixel_unshuffle(image, SHRINK) - 0.5, plane], dim=1))
        if self.small:
            made = image + F.pixel_shuffle(self.out(fitting(self.trunk(x), self.out)), SHRINK)
        else:
            margin = (LANCZOS * SHRINK * 2 - SHRINK) // 2
            shrunk = self.shrink(F.pad(image, (margin,) * 4, mode="replicate"))
            made = self.enlarge(self.trunk(x + self.first(shrunk)))
        return made[..., : size[0], : size[1]].float()

    def trunk(self, x: Tensor) -> Tensor:
        y = x = fitting(x, self.after)
        for block in self.body:
            y = block(y)
        return x + self.after(y)  # type: ignore[no-any-return]

    def enlarge(self, x: Tensor) -> Tensor:
        """Features at 1/4 -> an image."""
        x = F.leaky_relu(self.up1(F.interpolate(x, scale_factor=2)), 0.2)
        x = F.leaky_relu(self.up2(F.interpolate(x, scale_factor=2)), 0.2)
        x = fitting(F.leaky_relu(self.detail(x), 0.2), self.out)
        return self.out(x)  # type: ignore[no-any-return]
