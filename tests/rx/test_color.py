"""Detail of what was made, coarse structure and colours of what was received."""

from __future__ import annotations

import torch
from pipeline_world import photograph

from rx.color import COARSE, anchored, low_frequencies, wavelet_color_fix


def test_color_fix():
    """Detail of the sample, colours of what was received."""
    torch.manual_seed(0)
    received = photograph(size=(64, 96)) * 0.5 + 0.25
    detail = 0.02 * (torch.arange(96) % 2 * 2 - 1.0).expand(1, 3, 64, 96)
    sampled = received + 0.1 + detail  # too bright, but sharp
    fixed = wavelet_color_fix(sampled, received)
    inside = (..., slice(31, 33), slice(31, 65))  # where no edge is repeated
    torch.testing.assert_close(fixed[inside], (received + detail)[inside], atol=1e-5, rtol=0)
    torch.testing.assert_close(fixed, received + detail, atol=5e-3, rtol=0)
    assert torch.equal(wavelet_color_fix(received, received), received)
    flat = torch.full((1, 3, 40, 40), 0.3)
    torch.testing.assert_close(low_frequencies(flat), flat)
    assert low_frequencies(detail)[..., 40:56].abs().max() < 1e-6


def waves(period: int) -> torch.Tensor:
    """(1, 3, 64, 128) of amplitude 0.1."""
    return 0.1 * torch.sin(2 * torch.pi * torch.arange(128) / period).expand(1, 3, 64, 128)


def test_what_is_coarse_is_mostly_the_received_image_s():
    received = photograph(size=(64, 128))
    torch.testing.assert_close(anchored(received, received), received)
    brighter = anchored(received + 0.1, received)
    torch.testing.assert_close(brighter, received + (1 - COARSE) * 0.1)
    fine = waves(2)  # 3 pixels are not seen by the levels that are compared
    torch.testing.assert_close(anchored(received + fine, received)[..., 20:-20],
                               (received + fine)[..., 20:-20], atol=2e-3, rtol=0)  # fmt: skip


def test_between_it_counts_as_far_as_it_is_sharp():
    """Where the received image is as sharp, its waves are taken; where it is blurred, not."""
    made, inside = waves(12), (..., slice(40, 88))
    shifted = torch.roll(made, 3, dims=-1)  # as sharp, elsewhere
    weak = 0.1 * shifted
    low = low_frequencies(made, 2) - low_frequencies(made, 3)
    moved = [(anchored(made, other) - made)[inside] for other in (shifted, weak)]
    assert moved[0].abs().max() > 0.9 * (low - torch.roll(low, 3, -1))[inside].abs().max()
    assert moved[1].abs().max() < 0.7 * moved[0].abs().max()
