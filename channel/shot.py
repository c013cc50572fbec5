"""One burst on its way through a radio, and what a radio is to the channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from simulator.phy.burst import Burst
from simulator.phy.synchronise import Received


@dataclass(frozen=True)
class Shot:
    """``samples``: complex64, silence around them included; ``comment``: about the frame, for
    people; ``noise``: what the emulated air would add to these samples, complex64, drawn when it is
    asked for."""

    burst: Burst
    samples: np.ndarray
    comment: str
    noise: Callable[[], np.ndarray]


class Radio(Protocol):
    """Sends bursts and hears them again."""

    def exchange(self, shot: Shot) -> Received:
        """What has come of that very burst. Raises ``WireError``: ``failed`` where another try may
        help, ``unsupported`` where none can."""

    def close(self) -> None: ...
