"""``adaptive``: one set of weights for every bandwidth ratio, SNR and fading gain.

The encoder is made for a small board: 1.98 GMAC at 768x512, plain 3x3 convolutions at 1/8 of
the size and below, where a CPU runs them near its peak. (The paper's CNN: 44 GMAC.)

    encoder  image -8x8/4-> 1/4 -> 1/8 [block] -> 1/16 [block, + 1/32 branch] -> head, 62 maps
                  \-- linear transform of 16x16 cells ----------------------------^ added
    decoder  62 maps -> 1/16 [block, + 1/32 branch, block] -> 1/8 [block] -> 1/4 [block] -> image
                  \-- linear transform to 16x16 cells ------------------------------------^ added

The linear transforms start as the DCT of a 16x16 colour cell and its inverse, so that training
starts from transform coding instead of from noise: the networks only learn what is better.

Each of the five ratios owns a slice of the head (2 + 4 + 8 + 16 + 32 = 62 maps), so that a low
ratio is not a truncated high one. SNR, abs(h) and the ratio modulate every block by a factor
and a shift per channel, like the paper's modulation without its global mean.
"""

from __future__ import annotations

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


def cell_transform() -> tuple[Tensor, Tensor]:
    """Analysis (62, 3, 16, 16) to about unit variance, and its inverse (62, 3, 16, 16).

    For each ratio the first C_out coefficients, by falling deviation, of the 16x16 DCT of
    luma and two colour differences. The deviations are a usual model of photographs: luma
    falls with frequency, colour holds a third of it.
    """
    n, cell = 6, 2**N_DOWNSAMPLE
    x = torch.arange(cell) + 0.5
    waves = torch.stack([torch.cos(torch.pi * u * x / cell) for u in range(n)])
    waves /= waves.norm(dim=1, keepdim=True)
    colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
    colours /= colours.norm(dim=1, keepdim=True)
    table = []
    for colour, base in enumerate((1.0, 0.35, 0.2)):
        for u in range(n):
            for v in range(n):
                deviation = 14 * base / (1 + 1.5 * (u * u + v * v)) ** 0.75
                kernel = torch.einsum("c,i,j->cij", colours[colour], waves[u], waves[v])
                table.append((deviation, kernel))
    table.sort(key=lambda row: -row[0])
    chosen = [row for channels in CHANNELS for row in table[:channels]]
    analysis = torch.stack([kernel / deviation for deviation, kernel in chosen])
    return analysis, torch.stack([kernel * deviation for deviation, kernel in chosen])


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


def conv_from_zero(inputs: int, outputs: int) -> nn.Conv2d:
    """A convolution whose output starts at zero: what it is added to starts alone."""
    layer = conv(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class Block(nn.Module):
    """Residual block: conv, factor and shift from the state, ReLU, conv."""

    def __init__(self, width: int, hidden: int, state: int) -> None:
        super().__init__()
        self.conv1 = conv(width, hidden)
        self.conv2 = conv_from_zero(hidden, width)
        self.modulation = nn.Linear(state, 2 * hidden)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        factor, shift = self.modulation(state)[:, :, None, None].chunk(2, dim=1)
        y = self.conv1(x) * (1 + factor) + shift
        return x + self.conv2(F.relu(y))


class Context(nn.Module):
    """A branch at half the size, for agreement over a larger neighbourhood."""

    def __init__(self, width: int, inner: int, blocks: int, state: int) -> None:
        super().__init__()
        self.down = conv(width, inner, stride=2)
        self.blocks = nn.ModuleList(Block(inner, inner, state) for _ in range(blocks))
        self.up = nn.Conv2d(inner, 4 * width, 1)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        y = F.relu(self.down(x))
        for block in self.blocks:
            y = block(y, state)
        y = F.pixel_shuffle(self.up(F.relu(y)), 2)
        return x + y[..., : x.shape[-2], : x.shape[-1]]  # odd sizes come back one larger


class StateEmbedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(N_FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features)  # type: ignore[no-any-return]


class AdaptiveEncoder(nn.Module):
    """(B, 3, H, W), (B, 7) -> (B, 62, H/16, W/16): the maps of every ratio at once."""

    def __init__(self, state: int = 64) -> None:
        super().__init__()
        self.state = StateEmbedding(state)
        self.stem = nn.Conv2d(3, 48, 8, stride=4, padding=2)
        self.down8 = conv(48, 96, stride=2)
        self.block8 = Block(96, 30, state)
        self.down16 = conv(96, 128, stride=2)
        self.block16 = Block(128, 128, state)
        self.context = Context(128, 192, 1, state)
        self.head = conv_from_zero(128, N_MAPS)
        self.linear = nn.Conv2d(3, N_MAPS, 2**N_DOWNSAMPLE, stride=2**N_DOWNSAMPLE, bias=False)
        self.linear.weight.data.copy_(cell_transform()[0])

    def forward(self, image: Tensor, features: Tensor) -> Tensor:
        state = self.state(features)
        centred = image * 2 - 1
        x = F.relu(self.stem(centred))
        x = self.block8(F.relu(self.down8(x)), state)
        x = self.block16(F.relu(self.down16(x)), state)
        return self.linear(centred) + self.head(F.relu(self.context(x, state)))  # type: ignore[no-any-return]


class AdaptiveDecoder(nn.Module):
    """(B, 62, h, w), (B, 7) -> (B, 3, 16 h, 16 w), about 0 to 1."""

    def __init__(self, state: int = 64) -> None:
        super().__init__()
        self.state = StateEmbedding(state)
        self.tail = conv(N_MAPS, 160)
        self.block16a = Block(160, 160, state)
        self.context = Context(160, 192, 2, state)
        self.block16b = Block(160, 160, state)
        self.up8 = nn.Conv2d(160, 4 * 96, 1)
        self.block8 = Block(96, 44, state)
        self.up4 = nn.Conv2d(96, 4 * 48, 1)
        self.block4 = Block(48, 24, state)
        self.out = conv_from_zero(48, 3 * 16)
        self.linear = nn.Conv2d(N_MAPS, 3 * 4**N_DOWNSAMPLE, 1, bias=False)
        self.linear.weight.data.copy_(cell_transform()[1].flatten(1).T[:, :, None, None])

    def forward(self, maps: Tensor, features: Tensor) -> Tensor:
        state = self.state(features)
        x = self.block16a(self.tail(maps), state)
        x = self.block16b(self.context(x, state), state)
        x = self.block8(F.relu(F.pixel_shuffle(self.up8(F.relu(x)), 2)), state)
        x = self.block4(F.relu(F.pixel_shuffle(self.up4(F.relu(x)), 2)), state)
        detail = F.pixel_shuffle(self.out(F.relu(x)), 4)
        return (F.pixel_shuffle(self.linear(maps), 16) + detail) * 0.5 + 0.5


class AdaptiveCodec(JsccCodec):
    """All five ratios 1/768 ... 1/48, SNR -5 to 20 dB, AWGN and Rayleigh CSI."""

    name: ClassVar[str] = "adaptive"
    bandwidth_ratios = BANDWIDTH_RATIOS

    def __init__(self, bandwidth_ratio: str = "1/384") -> None:
        super().__init__()
        self.bandwidth_ratio = Fraction(bandwidth_ratio)
        self.check_ratio(self.bandwidth_ratio)
        self.encoder = AdaptiveEncoder()
        self.decoder = AdaptiveDecoder()

    @property
    def config(self) -> dict[str, Any]:
        return {"bandwidth_ratio": str(self.bandwidth_ratio)}

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        maps = self.encoder(image, state_features(csi, channels))
        return maps[:, rate_slice(channels)]  # type: ignore[no-any-return]

    def synthesise(self, latent: Tensor, csi: Csi) -> Tensor:
        channels = latent.shape[1]
        features = state_features(csi, channels)
        # Zero forcing leaves symbols of huge noise in deep fades. The Wiener factor of unit
        # power symbols, snr / (1 + snr), bounds them; the network need not learn a division.
        snr = 10 ** (features[:, :2].sum(dim=1)[:, None, None, None])
        active = latent * (snr / (1 + snr))
        maps = latent.new_zeros(latent.shape[0], N_MAPS, *latent.shape[2:])
        maps[:, rate_slice(channels)] = active
        return self.decoder(maps, features)  # type: ignore[no-any-return]
