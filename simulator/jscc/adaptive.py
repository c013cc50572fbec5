"""``adaptive``: one set of weights for every bandwidth ratio, SNR and fading gain.

The encoder is made for a small board: 3.9 GMAC at 768x512, plain 3x3 convolutions at 1/4 of
the size and below, where a CPU runs them near its peak. (The paper's CNN: 44 GMAC.)

    encoder  image -8x8/4-> 1/4 -> 1/8 [block] -> 1/16 [block, + 1/32 branch] -> head, 62 maps
                  +-- linear transform of 16x16 cells ----------------------------^ added
    decoder  62 maps -> 1/16 [2 blocks, + 1/32 branch, 2 blocks] -> 1/8 [3] -> 1/4 [2] -> image
                  +-- linear transform to 16x16 cells --------------------------------^ added

The linear transforms, where a codec has them, start as the DCT of a 16x16 colour cell and its
inverse, so that training starts from transform coding. That is 10 dB ahead at first and holds the
networks near it: in a comparison at one point (docs/weights.md) a random start whose maps have mean
0 and deviation 1 (``AdaptiveCodec.start``) was ahead after five minutes. Without that, power
normalisation spends the power on what all cells have in common.

Power normalisation hides an image's contrast from the receiver. So the encoder's modulation
sees the mean and spread of the whole image, the decoder's the mean and variance of each map:
the two can agree on a level that carries the scale.

Each of the five ratios owns a slice of the head (2 + 4 + 8 + 16 + 32 = 62 maps), so that a low
ratio is not a truncated high one. SNR, abs(h), the ratio and those statistics modulate every
block by a factor and a shift per channel. The decoder weighs each symbol by how much of it is
signal, and sees how noisy each place of the maps is.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.rates import BANDWIDTH_RATIOS, N_DOWNSAMPLE, channels_of

CHANNELS = tuple(channels_of(r) for r in BANDWIDTH_RATIOS)  # 2, 4, 8, 16, 32
OFFSETS = tuple(sum(CHANNELS[:i]) for i in range(len(CHANNELS)))
N_MAPS = sum(CHANNELS)  # 62
N_FEATURES = 2 + len(CHANNELS)
# Outside this span of gains and SNR the state is clipped, not extrapolated.
CLIP_DB = 30.0


def rate_slice(channels: int) -> slice:
    """The maps of the head that belong to the ratio with C_out ``channels``."""
    offset = OFFSETS[CHANNELS.index(channels)]
    return slice(offset, offset + channels)


def state_features_of(snr_db: Tensor, power: Tensor, ratio: Tensor) -> Tensor:
    """(B, 7): SNR in 10 dB, gain ``power`` = abs(h)^2 in 10 dB, one-hot ``ratio`` (B, 5).

    The phase of h is left out: after equalisation it carries nothing.
    """
    gain_db = 10 * power.clamp_min(1e-12).log10()
    state = torch.stack([snr_db, gain_db], dim=1).clamp(-CLIP_DB, CLIP_DB) / 10
    return torch.cat([state.float(), ratio], dim=1)


def state_features(csi: Csi, channels: int) -> Tensor:
    """The state features of a batch at the ratio with C_out ``channels``."""
    ratio = torch.zeros(csi.snr_db.shape[0], len(CHANNELS), device=csi.snr_db.device)
    ratio[:, CHANNELS.index(channels)] = 1
    return state_features_of(csi.snr_db, csi.h.abs() ** 2, ratio)


# Deviations of the DCT coefficients of photographs (pixels in -1 ... 1), measured on training
# photographs: of the mean, and of a wave of frequency r, where it is divided by r.
MEAN_DEVIATION = (12.0, 4.5, 1.9)  # luma and two colour differences
WAVE_DEVIATION = (2.9, 0.87, 0.42)


def cell_transform() -> tuple[Tensor, Tensor]:
    """Analysis (62, 3, 16, 16) to mean power 1, and its inverse (62, 3, 16, 16).

    For each ratio the C_out strongest coefficients of the 16x16 DCT of luma and two colour
    differences. The best linear code for white noise gives each of them power in proportion
    to its deviation.
    """
    n, cell = 6, 2**N_DOWNSAMPLE
    x = torch.arange(cell) + 0.5
    waves = torch.stack([torch.cos(torch.pi * u * x / cell) for u in range(n)])
    waves /= waves.norm(dim=1, keepdim=True)
    colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
    colours /= colours.norm(dim=1, keepdim=True)
    table = []
    for colour in range(3):
        for u in range(n):
            for v in range(n):
                r = math.hypot(u, v)
                deviation = WAVE_DEVIATION[colour] / r if r else MEAN_DEVIATION[colour]
                kernel = torch.einsum("c,i,j->cij", colours[colour], waves[u], waves[v])
                table.append((deviation, kernel))
    table.sort(key=lambda row: -row[0])
    analysis, synthesis = [], []
    for channels in CHANNELS:
        mean = sum(deviation for deviation, _ in table[:channels]) / channels
        for deviation, kernel in table[:channels]:
            gain = (deviation / mean) ** 0.5
            analysis.append(kernel * gain / deviation)
            synthesis.append(kernel * deviation / gain)
    return torch.stack(analysis), torch.stack(synthesis)


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


def conv_from_zero(inputs: int, outputs: int) -> nn.Conv2d:
    """A convolution whose output starts at zero: what it is added to starts alone."""
    layer = conv(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class Block(nn.Module):
    """Residual block: conv, factor and shift from the state, SiLU, conv."""

    def __init__(self, width: int, hidden: int, state: int) -> None:
        super().__init__()
        self.conv1 = conv(width, hidden)
        self.conv2 = conv_from_zero(hidden, width)
        self.modulation = Modulation(state, hidden)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        y = F.silu(self.modulation(self.conv1(x), state))
        return x + self.conv2(y)  # type: ignore[no-any-return]


class Context(nn.Module):
    """A branch at half the size, for agreement over a larger neighbourhood."""

    def __init__(self, width: int, inner: int, blocks: int, state: int) -> None:
        super().__init__()
        self.down = conv(width, inner, stride=2)
        self.blocks = nn.ModuleList(Block(inner, inner, state) for _ in range(blocks))
        self.up = nn.Conv2d(inner, 4 * width, 1)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        y = F.silu(self.down(x))
        for block in self.blocks:
            y = block(y, state)
        y = F.pixel_shuffle(self.up(F.silu(y)), 2)
        return x + y[..., : x.shape[-2], : x.shape[-1]]  # odd sizes come back one larger


class StateEmbedding(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)  # type: ignore[no-any-return]


class Modulation(nn.Module):
    """A factor and a shift per channel from the state; starts as nothing."""

    def __init__(self, state: int, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(state, 2 * width)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        factor, shift = self.layer(state)[:, :, None, None].chunk(2, dim=1)
        return x * (1 + factor) + shift  # type: ignore[no-any-return]


class AdaptiveEncoder(nn.Module):
    """(B, 3, H, W), (B, 7) -> (B, 62, H/16, W/16): the maps of every ratio at once."""

    def __init__(self, linear: bool, state: int = 64) -> None:
        super().__init__()
        self.state = StateEmbedding(N_FEATURES + 4, state)
        self.stem = nn.Conv2d(3, 64, 8, stride=4, padding=2)
        self.down8 = conv(64, 128, stride=2)
        self.block8 = Block(128, 64, state)
        self.down16 = conv(128, 192, stride=2)
        self.block16 = Block(192, 192, state)
        self.context = Context(192, 256, 1, state)
        self.head = conv_from_zero(192, N_MAPS) if linear else conv(192, N_MAPS)
        self.linear: nn.Conv2d | None = None
        if linear:
            self.linear = nn.Conv2d(3, N_MAPS, 2**N_DOWNSAMPLE, stride=2**N_DOWNSAMPLE, bias=False)
            self.linear.weight.data.copy_(cell_transform()[0])
        self.modulation = Modulation(state, N_MAPS)

    def forward(self, image: Tensor, features: Tensor) -> Tensor:
        mean = image.mean(dim=(2, 3), keepdim=True)
        spread = ((image - mean) ** 2).mean(dim=(1, 2, 3), keepdim=True).sqrt() + 0.02
        whole = torch.cat([mean.flatten(1) * 2 - 1, spread.flatten(1).log()], dim=1)
        state = self.state(torch.cat([features, whole], dim=1))
        centred = image * 2 - 1
        x = F.silu(self.stem(centred))
        x = self.block8(F.silu(self.down8(x)), state)
        x = self.block16(F.silu(self.down16(x)), state)
        maps = self.head(F.silu(self.context(x, state)))
        if self.linear is not None:
            maps = self.linear(centred) + maps
        return self.modulation(maps, state)  # type: ignore[no-any-return]


class AdaptiveDecoder(nn.Module):
    """(B, 62, h, w), noise (B, 1, h, w), (B, 7) -> (B, 3, 16 h, 16 w), about 0 to 1."""

    def __init__(self, linear: bool, state: int = 64) -> None:
        super().__init__()
        self.state = StateEmbedding(N_FEATURES + 2 * N_MAPS, state)
        self.tail = conv(N_MAPS + 1, 256)
        self.blocks16a = nn.ModuleList(Block(256, 256, state) for _ in range(2))
        self.context = Context(256, 384, 2, state)
        self.blocks16b = nn.ModuleList(Block(256, 256, state) for _ in range(2))
        self.up8 = nn.Conv2d(256, 4 * 128, 1)
        self.blocks8 = nn.ModuleList(Block(128, 128, state) for _ in range(3))
        self.up4 = nn.Conv2d(128, 4 * 64, 1)
        self.blocks4 = nn.ModuleList(Block(64, 48, state) for _ in range(2))
        self.out = conv_from_zero(64, 3 * 16) if linear else conv(64, 3 * 16)
        self.linear: nn.Conv2d | None = None
        if linear:
            self.linear = nn.Conv2d(N_MAPS, 3 * 4**N_DOWNSAMPLE, 1, bias=False)
            self.linear.weight.data.copy_(cell_transform()[1].flatten(1).T[:, :, None, None])
        self.modulation = Modulation(state, 3)

    def forward(self, maps: Tensor, noise: Tensor, features: Tensor) -> Tensor:
        mean = maps.mean(dim=(2, 3))
        spread = ((maps - mean[:, :, None, None]) ** 2).mean(dim=(2, 3))
        state = self.state(torch.cat([features, mean, spread], dim=1))
        x = self.tail(torch.cat([maps, noise], dim=1))
        for block in self.blocks16a:
            x = block(x, state)
        x = self.context(x, state)
        for block in self.blocks16b:
            x = block(x, state)
        x = F.silu(F.pixel_shuffle(self.up8(F.silu(x)), 2))
        for block in self.blocks8:
            x = block(x, state)
        x = F.silu(F.pixel_shuffle(self.up4(F.silu(x)), 2))
        for block in self.blocks4:
            x = block(x, state)
        image = F.pixel_shuffle(self.out(F.silu(x)), 4)
        if self.linear is not None:
            image = F.pixel_shuffle(self.linear(maps), 16) + image
        return self.modulation(image, state) * 0.5 + 0.5  # type: ignore[no-any-return]


class AdaptiveGraph(nn.Module):
    """The encoder with its state computed inside, for ONNX."""

    def __init__(self, encoder: AdaptiveEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor, snr_db: Tensor, h: Tensor, ratio: Tensor) -> Tensor:
        features = state_features_of(snr_db, (h * h).sum(dim=1), ratio)
        return self.encoder(image, features)  # type: ignore[no-any-return]


class AdaptiveCodec(JsccCodec):
    """All five ratios 1/768 ... 1/48, SNR -5 to 20 dB, AWGN and Rayleigh CSI."""

    name: ClassVar[str] = "adaptive"
    bandwidth_ratios = BANDWIDTH_RATIOS

    def __init__(self, bandwidth_ratio: str = "1/384", linear: bool = True) -> None:
        super().__init__()
        self.bandwidth_ratio = Fraction(bandwidth_ratio)
        self.check_ratio(self.bandwidth_ratio)
        self.linear = linear
        self.encoder = AdaptiveEncoder(linear)
        self.decoder = AdaptiveDecoder(linear)

    @property
    def config(self) -> dict[str, Any]:
        plain = {"bandwidth_ratio": str(self.bandwidth_ratio)}
        return plain if self.linear else plain | {"linear": False}

    @torch.no_grad()
    def start(self, images: Tensor) -> None:
        """Without linear transforms: bring each map over ``images`` (B, 3, H, W) to mean 0 and
        deviation 1, by its weights in the head."""
        if self.linear:
            return
        maps = self.encoder(images, state_features(Csi.of(10.0, batch=len(images)), CHANNELS[-1]))
        mean, deviation = maps.mean((0, 2, 3)), maps.std((0, 2, 3))
        head = self.encoder.head
        assert head.bias is not None
        head.weight.div_(deviation[:, None, None, None])
        head.bias.copy_((head.bias - mean) / deviation)

    def onnx_graph(self) -> tuple[nn.Module, dict[str, list[int]]]:
        slices = {r: rate_slice(channels_of(r)) for r in self.bandwidth_ratios}
        return AdaptiveGraph(self.encoder), {str(r): [s.start, s.stop] for r, s in slices.items()}

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        maps = self.encoder(image, state_features(csi, channels))
        return maps[:, rate_slice(channels)]  # type: ignore[no-any-return]

    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        channels = latent.shape[1]
        features = state_features(csi, channels)
        # Zero forcing leaves symbols of huge noise in deep fades. The Wiener factor of unit
        # power symbols, 1 / (1 + noise), bounds them; the network need not learn a division.
        active = latent / (1 + noise_variance)
        maps = latent.new_zeros(latent.shape[0], N_MAPS, *latent.shape[2:])
        maps[:, rate_slice(channels)] = active
        noise_db = 10 * noise_variance.clamp_min(1e-12).log10()
        noise = noise_db.clamp(-CLIP_DB, CLIP_DB).mean(dim=1, keepdim=True) / 10
        return self.decoder(maps, noise, features)  # type: ignore[no-any-return]
