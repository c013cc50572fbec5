"""A patch discriminator (Isola et al. 2017): is each patch of an image real?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PatchDiscriminator(nn.Module):
    """(B, 3, H, W) in [0, 1] -> (B, 1, h, w) scores, positive for real; ``layers`` halvings."""

    def __init__(self, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        steps: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for index in range(1, layers):
            inputs, outputs = width * 2 ** (index - 1), width * 2**index
            steps += [
                nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
                nn.GroupNorm(8, outputs),
                nn.LeakyReLU(0.2),
            ]
        steps.append(nn.Conv2d(width * 2 ** (layers - 1), 1, 3, padding=1))
        self.layers = nn.Sequential(*steps)

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image * 2 - 1)  # type: ignore[no-any-return]

    def judge_frozen(self, image: Tensor) -> Tensor:
        """Scores whose gradient reaches the image but not the discriminator."""
        weights = {name: p.detach() for name, p in self.named_parameters()}
        return torch.func.functional_call(self, weights, (image,))  # type: ignore[no-any-return]


def hinge_loss(real: Tensor, made: Tensor) -> Tensor:
    """Zero where real patches score above 1 and made ones below -1."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + made).mean())
