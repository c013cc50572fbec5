"""DISTS, the distance of structure and texture, on VGG16.

Ding, Ma, Wang, Simoncelli, "Image Quality Assessment: Unifying Structure and Texture Similarity",
IEEE TPAMI 2020, equations (5) to (8). Images are compared at their own size.

    image -> conv1_2 -> L2 pool -> conv2_2 -> L2 pool -> conv3_3 -> L2 pool -> ... -> conv5_3
    stage 0     1                     2                     3                            5

Means over positions compare texture, covariances structure; 1,475 channels have a weight of
each, which the package ``dists-pytorch`` 0.1 holds (MIT). The convolutions are those of LPIPS-VGG.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from simulator.errors import ModelError
from simulator.metrics.lpips import LpipsVgg, load_lpips_vgg
from simulator.metrics.lpips_weights import VGG_LAYERS
from simulator.metrics.weight_cache import Weights, cache_path, keep, package_file, read_weights

CHANNELS = (3, *LpipsVgg.channels)
#: Sides below leave nothing of the last stage.
MIN_SIDE = 16
_SHAPES = dict.fromkeys(("alpha", "beta"), (1, sum(CHANNELS), 1, 1))
_SHA256 = "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218"
_HOW_TO_GET = "pip install --no-deps dists-pytorch==0.1"
_TINY = 1e-6  # c1 and c2 of equations (5) and (6)


class Dists(nn.Module):
    """(B,) distances, 0 for equal images; ``load_dists`` makes it."""

    window: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self, vgg: LpipsVgg, weights: Weights) -> None:
        super().__init__()
        self.vgg = vgg
        line = torch.hann_window(5, periodic=False)[1:-1]  # 3 of it are not zero
        self.register_buffer("window", torch.outer(line, line) / line.sum() ** 2)
        total = weights["alpha"].sum() + weights["beta"].sum()
        for name in ("alpha", "beta"):
            self.register_buffer(name, weights[name].float() / total)

    def stages(self, images: Tensor) -> list[Tensor]:
        """The image and the five stages of (B, 3, H, W) in [0, 1], sides >= 16."""
        found = [images]
        x = (2 * images - 1 - self.vgg.shift) / self.vgg.scale  # ImageNet's means and deviations
        layers = iter(self.vgg.convolutions)
        for index, count in enumerate(VGG_LAYERS):
            if index:
                x = self.pooled(x)
            for _ in range(count):
                x = functional.relu(next(layers)(x))
            found.append(x)
        return found

    def pooled(self, x: Tensor) -> Tensor:
        """The root of the local mean square at every second position."""
        channels = x.shape[1]
        kernel = self.window.expand(channels, 1, -1, -1)
        mean = functional.conv2d(x.square(), kernel, stride=2, padding=1, groups=channels)
        return (mean + 1e-12).sqrt()

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        similarity = images.new_zeros(len(images))
        alphas, betas = (
            torch.split(each, list(CHANNELS), dim=1) for each in (self.alpha, self.beta)
        )
        pairs = zip(self.stages(images), self.stages(references), alphas, betas, strict=True)
        for x, y, alpha, beta in pairs:
            x_mean, y_mean = x.mean((2, 3), keepdim=True), y.mean((2, 3), keepdim=True)
            texture = (2 * x_mean * y_mean + _TINY) / (x_mean**2 + y_mean**2 + _TINY)
            x_var, y_var = (
                (each - m).square().mean((2, 3), keepdim=True)
                for each, m in ((x, x_mean), (y, y_mean))
            )
            covariance = (x * y).mean((2, 3), keepdim=True) - x_mean * y_mean
            structure = (2 * covariance + _TINY) / (x_var + y_var + _TINY)
            similarity = similarity + (alpha * texture + beta * structure).sum((1, 2, 3))
        return 1 - similarity


def find_weights() -> Weights:
    """``alpha`` and ``beta`` from the cache or the installed package, which is not imported.

    Raises ModelError where neither has them.
    """
    cached = cache_path("dists.safetensors")
    if cached.is_file():
        return read_weights(cached, _SHAPES, "DISTS", _HOW_TO_GET)
    path = package_file("DISTS_pytorch", "weights.pt")
    if path is None:
        raise ModelError(f"The weights of DISTS are not on this machine; run {_HOW_TO_GET}.")
    weights = read_package(path)
    keep(weights, cached)
    return weights


def read_package(path: Path) -> Weights:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise ModelError(f"{path} is not the file of dists-pytorch 0.1; run {_HOW_TO_GET}.")
    found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return {name: found[name].detach().float().contiguous() for name in _SHAPES}


def load_dists(device: torch.device | str = "cpu") -> Dists:
    """Frozen, with the published weights. Raises ModelError where they are not here."""
    network = Dists(load_lpips_vgg(), find_weights())
    return network.to(device).requires_grad_(False).eval()
