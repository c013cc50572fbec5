"""Is it a photograph? A critic of small heads on features that exist already.

image -> VGG16's taps (frozen, those of LPIPS-VGG) -> a head each --+
image -> patch discriminator ---------------------------------------+-> maps of scores

Heads on frozen features learn in minutes what a discriminator from scratch learns in days (Sauer
et al. 2021, "Projected GANs Converge Faster"; Sauer et al. 2023 for distilled diffusion). The
patch discriminator sees pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from simulator.metrics.lpips import Features, LpipsVgg
from simulator.training.discriminator import PatchDiscriminator, hinge_loss

TAPS = LpipsVgg.channels
WIDTH = 64  # of a head, and of the patch discriminator's first layer


class Critic(nn.Module):
    """Maps of scores, positive for real, one a head and one of the patch discriminator."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = PatchDiscriminator(WIDTH)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, WIDTH, 1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(WIDTH, 1, 3, padding=1),
            )
            for channels in TAPS
        )

    def forward(self, image: Tensor, taps: Features) -> list[Tensor]:
        """``image``: (B, 3, H, W) in [0, 1]; ``taps``: its features as ``LpipsVgg.features``."""
        # Taps have unit length in each position: brought to unit deviation in each channel.
        scores = [
            head(tap * channels**0.5)
            for head, tap, channels in zip(self.heads, taps, TAPS, strict=True)
        ]
        return [self.patches(image), *scores]

    def judge_frozen(self, image: Tensor, taps: Features) -> list[Tensor]:
        """Scores whose gradient reaches image and taps but not the critic."""
        weights = {name: p.detach() for name, p in self.named_parameters()}
        return torch.func.functional_call(self, weights, (image, taps))  # type: ignore[no-any-return]


def critic_loss(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Hinge, a mean over the maps."""
    terms = [hinge_loss(a, b) for a, b in zip(real, made, strict=True)]
    return torch.stack(terms).mean()


def fooled(scores: Sequence[Tensor]) -> Tensor:
    """What the generator lowers: minus the mean score, a mean over the maps."""
    return torch.stack([-each.mean() for each in scores]).mean()


def balanced(wanted: float, reference: Tensor, term: Tensor, at: Tensor) -> Tensor:
    """``term`` weighted so that its gradient at ``at`` is ``wanted`` times the reference's.

    Losses of a critic have no unit; this makes their weight comparable over the training
    (Esser et al. 2021, equation 7).
    """
    size, other = (
        torch.autograd.grad(each, at, retain_graph=True)[0].float().norm()
        for each in (reference, term)
    )
    weight = (wanted * size / (other + 1e-8)).clamp(max=1e4).detach()
    weighted: Tensor = weight * term
    return weighted
