"""Where a training stands."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Progress:
    """Where a training stands. Times add up over resumptions; NaN: not measured yet."""

    step: int = 0
    steps: int = 0  # under --minutes: as it looks now
    parameters: int = 0  # that are trained, without those of a critic
    skipped: int = 0  # steps without an update, because their gradient was not finite
    wall_s: float = 0.0
    before_s: float = 0.0  # of wall_s: latents, networks and all else before the first step
    end_s: float = 0.0  # of wall_s, when a training under --minutes ends; kept when it goes on
    look_s: float = 0.0  # what the last validation took, with its picture
    cpu_s: float = 0.0
    loss: float = math.nan
    psnr: float = math.nan
    lpips_vgg: float = math.nan

    def record(self) -> dict[str, Any]:
        """Without what has not been measured: NaN has no JSON form."""
        return {k: v for k, v in asdict(self).items() if not math.isnan(v)}
