"""LPIPS as a loss is taken at a random phase of the strides of VGG16.

A network of strides looks at positions on grids. A decoder whose crops always begin at whole
cells can learn a grid that the distance at this one phase does not see. Measured with AlexNet,
whose first stride is 4: such a codec was at 0.457, and at 0.500 when its images were moved by two
pixels; the grid could be seen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from simulator.metrics.lpips import MIN_SIDE

PHASES = 8  # VGG16's poolings before its fourth tap
Phase = tuple[int, int]
#: Side of the smallest crop that LPIPS can be taken of, whatever the phase.
SMALLEST = MIN_SIDE + PHASES - 1


def draw_phase(generator: torch.Generator) -> Phase:
    """Rows and columns to leave out, 0 to 7 each."""
    down, right = torch.randint(PHASES, (2,), generator=generator).tolist()
    return down, right


def at_phase(images: Tensor, phase: Phase) -> Tensor:
    """(..., H, W) without the first rows and columns."""
    return images[..., phase[0] :, phase[1] :]
