"""The wavelet colour fix keeps the detail of a sample and the colours of what was received."""

from __future__ import annotations

import torch
from pipeline_world import photograph

from rx.color import low_frequencies, wavelet_color_fix


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
