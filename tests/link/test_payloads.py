"""Binary parts of messages; names of frames and points; clocks."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from message_world import make_frame

from simulator.link import ids, payloads
from simulator.link import messages as m
from simulator.link.clock import ClockOffset

# Payloads


def test_symbols_come_through() -> None:
    sent = np.arange(7).astype("<c8")
    for part in (sent.tobytes(), memoryview(sent.tobytes()), bytearray(sent.tobytes())):
        assert np.array_equal(payloads.symbols_of(make_frame(4, 3), part), sent)


@pytest.mark.parametrize("size", [0, 1, 8, 31, 33, 40])
def test_symbols_of_wrong_length_are_refused(size: int) -> None:
    with pytest.raises(m.WireError, match="instead of 32") as caught:
        payloads.symbols_of(make_frame(3, 1), bytes(size))
    assert caught.value.code == "bad-payload"


def put(at: int, *bad: complex) -> Callable[[np.ndarray], None]:
    def change(symbols: np.ndarray) -> None:
        symbols[at : at + len(bad)] = bad

    return change


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "spoil",
    [
        put(0, complex(math.nan, 0)),
        put(99, complex(0, math.nan)),
        put(50, complex(math.inf, 0)),
        put(3, complex(math.inf, -math.inf)),
        put(3, complex(math.inf, 0), complex(-math.inf, 0)),
    ],
)
def test_symbols_that_are_not_finite_are_refused(spoil: Callable[[np.ndarray], None]) -> None:
    symbols = np.ones(100, "<c8")
    spoil(symbols)
    with pytest.raises(m.WireError, match="not finite") as caught:
        payloads.symbols_of(make_frame(100), symbols.tobytes())
    assert caught.value.code == "bad-payload"


def test_large_finite_symbols_are_not_mistaken_for_infinite_ones() -> None:
    symbols = np.full(100, 3e38 + 3e38j, "<c8")
    assert np.isfinite(payloads.symbols_of(make_frame(100), symbols.tobytes())).all()


def test_references_fit_the_image_or_are_absent() -> None:
    frame = make_frame(1, height=3, width=5)
    payloads.check_reference(frame, b"")
    payloads.check_reference(frame, bytes(45))
    for size in (1, 44, 46, 15):
        with pytest.raises(m.WireError, match="for 5x3") as caught:
            payloads.check_reference(frame, bytes(size))
        assert caught.value.code == "bad-payload"


# Names of frames, operating points and clocks


def test_frame_ids_depend_on_run_point_image_and_repeat() -> None:
    base = ("run", "awgn@1dB@1/384", bytes(32), 0)
    others = [
        ("run2", *base[1:]),
        (base[0], "awgn@2dB@1/384", *base[2:]),
        (*base[:2], b"\x01" * 32, 0),
        (*base[:3], 1),
        ("runawgn", "@1dB@1/384", bytes(32), 0),
    ]
    made = {ids.frame_id(*names) for names in [base, *others]}
    assert len(made) == 6 and {len(i) for i in made} == {16}
    assert ids.frame_id(*base) == ids.frame_id(*base)


def test_draw_keys_depend_on_seed_image_and_repeat_alone() -> None:
    made = {
        ids.draw_key(s, i, r) for s in (0, 1) for i in (bytes(32), b"\x01" * 32) for r in (0, 1)
    }
    assert len(made) == 8 and {len(i) for i in made} == {32}


@example(0.1)
@given(st.floats(-30, 60))
def test_names_of_points(snr_db: float) -> None:
    point = m.WirePoint(channel="rician", snr_db=snr_db, bandwidth_ratio="1/48")
    assert point.name == f"rician@{snr_db!r}dB@1/48"
    trace = m.WirePoint(channel="awgn", snr_db=None, bandwidth_ratio="1/48", trace_index=7)
    assert trace.name == "awgn@trace[7]@1/48"


def test_the_shortest_round_trip_gives_the_offset() -> None:
    clock = ClockOffset()
    clock.add(0.0, 103.0, 104.0, 5.0)  # 4 s on the way, 3 of them there: off by one
    assert (clock.offset_s, clock.round_trip_s) == (101.0, 4.0)
    clock.add(10.0, 110.5, 111.5, 12.0)
    assert (clock.offset_s, clock.round_trip_s) == (100.0, 1.0)
    clock.add(20.0, 150.0, 151.0, 31.0)  # slower: ignored
    clock.add(20.0, 19.0, 29.0, 21.0)  # impossible: ignored
    assert (clock.offset_s, clock.round_trip_s) == (100.0, 1.0)
    clock.reset()
    clock.add(20.0, 150.0, 151.0, 31.0)
    assert clock.round_trip_s == 10.0
