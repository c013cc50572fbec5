"""What a transmitter with feedback learns from the rounds that it has sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.jscc.signal import Round
from simulator.phy.law import Law
from simulator.phy.state import ChannelState

Rounds = list[Round[np.ndarray]]


def learnt(
    sent: Sequence[np.ndarray],
    returned: Sequence[np.ndarray],
    state: ChannelState,
    law: Law,
) -> tuple[ChannelState, Rounds]:
    """The state that the receiver has after these rounds, and what it has received in each.

    ``sent``: (K,) symbols of each round; ``returned``: what came back of each; ``state``: of the
    receiver, whose gains are not looked at where there are pilots. The transmitter equalises by
    zero forcing.
    """
    count, k = len(sent), len(sent[0])
    heard = law.hear(np.concatenate(returned), state.h, k, state.snr_db, count)
    equalised = heard.equalised("zero-forcing").reshape(count, -1)
    noise = heard.noise_variance("zero-forcing")
    each = None if noise is None else noise[:k]  # the same gains in all rounds
    return heard.state, [Round(s, r, each) for s, r in zip(sent, equalised, strict=True)]
