"""A decoder that takes as long as another machine's."""

from __future__ import annotations

import numpy as np

from rx.chain import NullDecoder, SlowDecoder
from rx.service import make_decoders
from simulator.jscc.signal import ToDecode
from simulator.link.clock import monotonic
from simulator.phy.state import ChannelState
from simulator.settings import make_settings

STATE = ChannelState(10.0, np.ones(1, np.complex64))


def test_it_takes_its_time_and_changes_nothing_else() -> None:
    decoders = make_decoders(make_settings(overrides={"codec": "null", "rx.decode_s": 0.05}))
    assert isinstance(decoders.preview, SlowDecoder) and decoders.condition is None
    given = ToDecode(np.ones(4, np.complex64), STATE, (8, 16))
    began = monotonic()
    pixels = decoders.preview.decode(given)
    assert monotonic() - began >= 0.05
    assert np.array_equal(pixels, NullDecoder().decode(given))
    assert decoders.preview.rounds == 1 and decoders.preview.conditioned(STATE) is STATE


def test_without_it_nothing_waits() -> None:
    assert isinstance(
        make_decoders(make_settings(overrides={"codec": "null"})).preview, NullDecoder
    )
