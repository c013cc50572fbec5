"""What one end of a link knows of the channel of one frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from simulator.phy.propagation import noise_variance

ONE = np.ones(1, np.complex64)  # the gain of AWGN, and of what is not known


@dataclass(frozen=True, eq=False)
class ChannelState:
    """``snr_db``: average Es/N0 per complex symbol, in dB; ``h``: (M,) complex64, M = 1 where the
    gain is one for the whole frame, else one for each block."""

    snr_db: float
    h: np.ndarray = field(default_factory=lambda: ONE)

    @property
    def gain(self) -> complex:
        """The one gain that stands for all: h, or the root mean square of ``abs(h)``."""
        if len(self.h) == 1:
            return complex(self.h[0])
        return complex(np.sqrt(np.mean(np.abs(self.h) ** 2)))

    @property
    def noise_variance(self) -> float:
        """sigma^2 of each received complex symbol."""
        return noise_variance(self.snr_db)

    def same_as(self, other: ChannelState) -> bool:
        """Whether an encoder would send the same under both."""
        return self.snr_db == other.snr_db and np.array_equal(self.h, other.h)
