"""``adaptive``: one set of weights for every bandwidth ratio, SNR and fading gain.

The encoder is made for a small board: 3.9 GMAC at 768x512, nearly all of it plain convolutions
at 1/8 of the size and below, where a CPU runs them near its peak. (The paper's CNN: 42 GMAC.)

    encoder  image -8x8/4-> 1/4 -> 1/8 [block] -> 1/16 [7 blocks] -> head, 62 maps
    decoder  62 maps -> 1/16 [14 blocks] -> 1/8 [8] -> 1/4 [6] -> image

Many thin blocks were 1.7 dB ahead of few wide ones of the same arithmetic (docs/weights.md).
Training starts with maps of mean 0 and deviation 1 (``AdaptiveCodec.start``): else power
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

from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.rates import BANDWIDTH_RATIOS, channels_of
from simulator.threads import one_thread

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
    return state_features_of(csi.snr_db, csi.gain.abs() ** 2, ratio)


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


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


class Block(nn.Module):
    """Residual bottleneck: 1x1 to half the width, 3x3, factor and shift from the state, 1x1 back.

    It starts as nothing.
    """

    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        inner = width // 2
        self.narrow = nn.Conv2d(width, inner, 1)
        self.conv = conv(inner, inner)
        self.modulation = Modulation(state, inner)
        self.widen = nn.Conv2d(inner, width, 1)
        nn.init.zeros_(self.widen.weight)
        nn.init.zeros_(self.widen.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        y = F.silu(self.narrow(x))
        y = F.silu(self.modulation(self.conv(y), state))
        return x + self.widen(y)  # type: ignore[no-any-return]


class Blocks(nn.ModuleList):
    """``count`` blocks in a row."""

    def __init__(self, count: int, width: int, state: int) -> None:
        super().__init__(Block(width, state) for _ in range(count))

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        for block in self:
            x = block(x, state)
        return x


class AdaptiveEncoder(nn.Module):
    """(B, 3, H, W), (B, 7) -> (B, 62, H/16, W/16): the maps of every ratio at once."""

    def __init__(self, state: int = 64) -> None:
        super().__init__()
        self.state = StateEmbedding(N_FEATURES + 4, state)
        self.stem = nn.Conv2d(3, 64, 8, stride=4, padding=2)
        self.down8 = conv(64, 128, stride=2)
        self.blocks8 = Blocks(1, 128, state)
        self.down16 = conv(128, 256, stride=2)
        self.blocks16 = Blocks(7, 256, state)
        self.head = nn.Conv2d(256, N_MAPS, 1)
        self.modulation = Modulation(state, N_MAPS)

    def forward(self, image: Tensor, features: Tensor) -> Tensor:
        mean = image.mean(dim=(2, 3), keepdim=True)
        spread = ((image - mean) ** 2).mean(dim=(1, 2, 3), keepdim=True).sqrt() + 0.02
        whole = torch.cat([mean.flatten(1) * 2 - 1, spread.flatten(1).log()], dim=1)
        state = self.state(torch.cat([features, whole], dim=1))
        x = F.silu(self.stem(image * 2 - 1))
        x = self.blocks8(F.silu(self.down8(x)), state)
        x = self.blocks16(F.silu(self.down16(F.silu(x))), state)
        return self.modulation(self.head(F.silu(x)), state)  # type: ignore[no-any-return]


class AdaptiveDecoder(nn.Module):
    """(B, 62, h, w), noise (B, 1, h, w), (B, 7) -> (B, 3, 16 h, 16 w), about 0 to 1."""

    def __init__(self, state: int = 64) -> None:
        super().__init__()
        self.state = StateEmbedding(N_FEATURES + 2 * N_MAPS, state)
        self.tail = conv(N_MAPS + 1, 320)
        self.blocks16 = Blocks(14, 320, state)
        self.up8 = nn.Conv2d(320, 4 * 160, 1)
        self.blocks8 = Blocks(8, 160, state)
        self.up4 = nn.Conv2d(160, 4 * 96, 1)
        self.blocks4 = Blocks(6, 96, state)
        self.out = conv(96, 3 * 16)
        self.modulation = Modulation(state, 3)

    def forward(self, maps: Tensor, noise: Tensor, features: Tensor) -> Tensor:
        mean = maps.mean(dim=(2, 3))
        spread = ((maps - mean[:, :, None, None]) ** 2).mean(dim=(2, 3))
        state = self.state(torch.cat([features, mean, spread], dim=1))
        x = self.blocks16(self.tail(torch.cat([maps, noise], dim=1)), state)
        x = self.blocks8(F.pixel_shuffle(self.up8(F.silu(x)), 2), state)
        x = self.blocks4(F.pixel_shuffle(self.up4(F.silu(x)), 2), state)
        image = F.pixel_shuffle(self.out(F.silu(x)), 4)
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

    def __init__(self, bandwidth_ratio: str = "1/384") -> None:
        super().__init__()
        self.bandwidth_ratio = Fraction(bandwidth_ratio)
        self.check_ratio(self.bandwidth_ratio)
        self.encoder = AdaptiveEncoder()
        self.decoder = AdaptiveDecoder()

    @property
    def config(self) -> dict[str, Any]:
        return {"bandwidth_ratio": str(self.bandwidth_ratio)}

    @torch.no_grad()
    def start(self, images: Tensor) -> None:
        """Bring each map over ``images`` (B, 3, H, W) to mean 0 and deviation 1, by its weights in
        the head: power normalisation would else spend the power on what all cells share."""
        features = state_features(Csi.of(10.0, batch=len(images)), CHANNELS[-1])
        with one_thread():  # the same start, however many there are
            maps = self.encoder(images, features)
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
