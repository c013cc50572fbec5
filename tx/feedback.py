"""What a transmitter with feedback learns from the rounds that it has sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.jscc.signal import Round
from simulator.phy.pilots import Blocks
from simulator.phy.reception import hear
from simulator.phy.state import ChannelState


def learnt(
    sent: Sequence[np.ndarray],
    returned: Sequence[np.ndarray],
    h: np.ndarray,
    p: int,
    blocks: Blocks,
    snr_db: float,
) -> tuple[ChannelState, list[Round[np.ndarray]]]:
    """The state that the receiver has after these rounds, and what it has received in each.

    ``sent``: (K,) symbols of each round; ``returned``: (P + K,) as each came back; ``h`` and ``p``
    as for ``hear``. The transmitter equalises by zero forcing, whatever the receiver does.
    """
    heard = hear(np.concatenate(returned), h, p * len(returned), blocks, snr_db, len(returned))
    equalised = heard.equalised("zero-forcing").reshape(len(sent), -1)
    noise = heard.noise_variance("zero-forcing")
    each = None if noise is None else noise[: len(sent[0])]  # the same gains in all rounds
    return heard.state, [Round(s, r, each) for s, r in zip(sent, equalised, strict=True)]
