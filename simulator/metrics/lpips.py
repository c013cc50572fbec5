"""LPIPS, the learned perceptual distance (version 0.1), on AlexNet and on VGG16.

AlexNet judges: its LPIPS is the headline, and no training sees it. VGG16 trains: losses and critics
stand on its features (``LpipsVgg``).

Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric", CVPR 2018, equation (1). The published package needs torchvision for the
backbones; these are their convolutions, with its numbers.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from simulator.metrics.lpips_weights import VGG_LAYERS, find_weights

#: AlexNet's two poolings leave nothing of a shorter side.
MIN_SIDE = 31
#: Of AlexNet's first convolution: the distance of images moved by less is another one.
STRIDE = 4

Features = list[torch.Tensor]


class PerceptualDistance(nn.Module):
    """The distance over five taps, without weights until a state is loaded.

    A tap is a rectified output with its channels brought to unit length. The distance is the
    sum over the taps of head(squared difference), averaged over positions.
    """

    channels: tuple[int, ...]  # of the taps
    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Conv2d(c, 1, 1, bias=False) for c in self.channels])
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        self.register_buffer("shift", shift.view(3, 1, 1), persistent=False)
        self.register_buffer("scale", scale.view(3, 1, 1), persistent=False)

    def rectified(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """The outputs of the backbone that are tapped."""
        raise NotImplementedError

    def features(self, images: torch.Tensor) -> Features:
        """The five taps, (B, C, h, w) each, of (B, 3, H, W) images in [0, 1], sides >= 31."""
        scaled = (2 * images - 1 - self.shift) / self.scale
        return [
            x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for x in self.rectified(scaled)
        ]

    def compare(self, taps: Features, reference_taps: Features) -> torch.Tensor:
        """(B,) distances between two lists of taps; one reference may serve a whole batch."""
        distances = [
            head((a - b).square()).mean(dim=(1, 2, 3))
            for head, a, b in zip(self.heads, taps, reference_taps, strict=True)
        ]
        return torch.stack(distances).sum(dim=0)

    def forward(self, images: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        """(B,) distances, 0 for equal images, of (B, 3, H, W) images in [0, 1], sides >= 31."""
        return self.compare(self.features(images), self.features(references))


class Lpips(PerceptualDistance):
    """On AlexNet.

    image -> scale -> conv1 -> pool -> conv2 -> pool -> conv3 -> conv4 -> conv5
                        |                |                |        |        |
                      tap 1            tap 2            tap 3    tap 4    tap 5
    """

    channels = (64, 192, 384, 256, 256)

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(3, 64, 11, stride=STRIDE, padding=2),
                nn.Conv2d(64, 192, 5, padding=2),
                nn.Conv2d(192, 384, 3, padding=1),
                nn.Conv2d(384, 256, 3, padding=1),
                nn.Conv2d(256, 256, 3, padding=1),
            ]
        )

    def rectified(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        for index, convolution in enumerate(self.convolutions):
            if index in (1, 2):
                x = functional.max_pool2d(x, kernel_size=3, stride=2)
            x = functional.relu(convolution(x))
            yield x

    def moved(self, images: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        """(B,) means over the four phases that are half of AlexNet's stride apart; sides >= 33.

        A network that was trained on LPIPS at one phase may be better there than at the others,
        by a grid that can be seen; this mean is what its images are worth.
        """
        offsets = (0, STRIDE // 2)
        pairs = [
            (images[..., down:, right:], references[..., down:, right:])
            for down in offsets
            for right in offsets
        ]
        return torch.stack([self(*pair) for pair in pairs]).mean(dim=0)


class LpipsVgg(PerceptualDistance):
    """On VGG16: the last convolution before each pooling and the last of all is tapped.

    Its five sizes are 1 to 1/16 of the image's, so that no fine pattern escapes it.
    """

    channels = (64, 128, 256, 512, 512)

    def __init__(self) -> None:
        super().__init__()
        widths = [3, *(c for c, n in zip(self.channels, VGG_LAYERS, strict=True) for _ in range(n))]
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths)]
        )

    def rectified(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        layers = iter(self.convolutions)
        for tap, count in enumerate(VGG_LAYERS):
            if tap:
                x = functional.max_pool2d(x, kernel_size=2, stride=2)
            for _ in range(count):
                x = functional.relu(next(layers)(x))
            yield x


def load_lpips(path: Path | None = None, device: torch.device | str = "cpu") -> Lpips:
    """The network with the published weights, frozen.

    ``path`` is a weight file; without it they are looked for as ``lpips_weights`` says. Raises
    ModelError when there are none or they do not fit.
    """
    network = Lpips()
    network.load_state_dict(find_weights(path))
    return network.to(device).requires_grad_(False).eval()


def load_lpips_vgg(path: Path | None = None, device: torch.device | str = "cpu") -> LpipsVgg:
    """``load_lpips`` on VGG16."""
    network = LpipsVgg()
    network.load_state_dict(find_weights(path, "vgg"))
    return network.to(device).requires_grad_(False).eval()
