"""The pace of frames over a simulated queue: which ratio is sent, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise

import pytest
from helpers import sentence
from transmitter_world import Bench, grant, job, result, welcome

from simulator.errors import SettingsError
from simulator.jscc.rates import BANDWIDTH_RATIOS, layout_of
from simulator.phy.laws import Laws, Waveform
from simulator.prepare import with_ratio
from simulator.settings import make_settings
from tx.flight import Encode
from tx.pace import Pace, airtimes_of

SIZE = (256, 384)
KS = {ratio: layout_of(ratio, SIZE).k for ratio in BANDWIDTH_RATIOS}
R768, R384, R192, R96, R48 = BANDWIDTH_RATIOS
PERIOD_S = 0.5


def airtimes(largest_s: float) -> dict[Fraction, float]:
    """Where 1/48 takes ``largest_s`` of air."""
    return {ratio: float(largest_s * ratio / R48) for ratio in BANDWIDTH_RATIOS}


def run(
    frames: int,
    air: Mapping[Fraction, float],
    rest_s: Callable[[int], float] = lambda n: 0.0,
    window: int = 1,
) -> tuple[list[Fraction], list[str], Pace]:
    """A link that serves ``window`` frames at once, each for its airtime and ``rest_s`` more."""
    pace, sent, why = Pace(1 / PERIOD_S, window), [], []
    for n in range(frames):
        cap = pace.cap(air, R48)
        sent.append(cap.ratio)
        why.append(cap.why)
        pace.served(cap, air[cap.ratio] + rest_s(n), air[cap.ratio])
    return sent, why, pace


@pytest.mark.parametrize(
    ("largest_s", "ratio"), [(0.3, R48), (0.5, R48), (0.9, R96), (1.7, R192), (3.9, R384)]
)
def test_the_largest_ratio_that_the_medium_can_carry(largest_s: float, ratio: Fraction) -> None:
    sent, why, pace = run(50, airtimes(largest_s))
    assert set(sent) == {ratio} and pace.backlog_s == 0.0
    assert len(set(why)) == 1 and bool(why[0]) == (ratio != R48)


def test_where_not_even_the_smallest_fits_it_is_sent_and_said() -> None:
    sent, why, _ = run(50, airtimes(16.0))
    assert set(sent) == {R768}
    assert why[-1] == "at most 1/768: it takes 1.00 s of air, too much for 2 frames/s"


def test_what_else_takes_the_time_lowers_the_ratio_until_frames_keep_up_on_average() -> None:
    """1/192 fits into the air alone, and not with a receiver that takes 0.2 s of a period."""
    air = airtimes(1.7)
    sent, why, pace = run(400, air, lambda n: 0.2)
    assert set(sent) == {R192, R384}
    served = sum(air[ratio] + 0.2 for ratio in sent[100:]) / 300
    assert served == pytest.approx(PERIOD_S, rel=0.03)
    assert pace.backlog_s < 4 * PERIOD_S  # and are late by a bounded time
    changes = sum(a != b for a, b in pairwise(sent[100:]))
    assert 0 < changes < 60  # a picture in five at most differs from the one before
    assert why[sent.index(R384)].startswith("at most 1/384: ")
    assert why[sent.index(R384)].endswith("s behind 2 frames/s")


def test_a_frame_that_takes_long_once_changes_nothing() -> None:
    sent, _, pace = run(60, airtimes(0.8), lambda n: 0.8 if n == 5 else 0.0)
    assert set(sent) == {R96} and pace.backlog_s == 0.0


def test_a_medium_that_slows_down_and_recovers_is_followed_both_ways() -> None:
    """Other transmitters, of whom tx knows nothing, take the air for a while."""
    sent, _, pace = run(150, airtimes(0.8), lambda n: 0.3 if 30 <= n < 60 else 0.0)
    assert set(sent[:30]) == {R96}
    assert min(sent[30:70]) < R96
    assert set(sent[-50:]) == {R96} and pace.backlog_s == 0.0


def test_a_receiver_that_is_too_slow_for_any_ratio_costs_no_quality_and_is_said() -> None:
    sent, why, pace = run(300, airtimes(0.9), lambda n: 5.0)
    assert set(sent) == {R96} and pace.backlog_s == 0.0
    assert why[-1] == (
        "at most 1/96: 1/48 takes 0.90 s of air at 2 frames/s; "
        "frames take 5.00 s beside the air, which no ratio mends"
    )


def test_a_backlog_that_counts_is_bounded() -> None:
    """So that a link which recovers is used again soon."""
    sent, _, pace = run(300, airtimes(8.0), lambda n: 0.3)
    assert set(sent[50:]) == {R768} and pace.backlog_s == 0.0
    pace = Pace(2, 1)
    for _ in range(300):
        pace.served(pace.cap(airtimes(0.4), R48), 0.8, 0.8)  # others take the air
    assert pace.backlog_s == 16 * PERIOD_S


def test_frames_that_are_under_way_together_share_the_time() -> None:
    air = airtimes(0.8)
    alone, together = (run(200, air, lambda n: 0.4, window) for window in (1, 4))
    assert min(alone[0]) < R96 and set(together[0]) == {R96}


def test_the_same_inputs_give_the_same_ratios() -> None:
    assert (
        run(99, airtimes(2.0), lambda n: n % 7 / 10)[0]
        == run(99, airtimes(2.0), lambda n: n % 7 / 10)[0]
    )


def test_a_budget_is_never_exceeded() -> None:
    cap = Pace(2, 1).cap(airtimes(0.1), R192)
    assert (cap.ratio, cap.why) == (R192, "")


def test_airtime_counts_pilots_rounds_and_guard() -> None:
    law = Laws(Waveform(pilots=8)).of("awgn")
    (one,) = airtimes_of({R96: 1000}, 1, law, 1e4, 0.01).values()
    (two,) = airtimes_of({R96: 1000}, 2, law, 1e4, 0.01).values()
    assert one == pytest.approx(0.01 + 1008 / 1e4)
    assert two == pytest.approx(0.02 + 1016 / 1e4)


# In the transmitter


def test_the_choice_is_encoded_and_stands_in_the_row() -> None:
    bench = Bench([job(0)], pace=Pace(2, 1))
    bench.k, bench.ks = KS[R384], {ratio: KS[ratio] for ratio in (R768, R384)}
    bench.receive(welcome(symbol_rate_hz=KS[R384] / PERIOD_S * 0.9))
    bench.tick()
    bench.load()
    bench.receive(grant(0))
    (task,) = bench.tx.work
    assert isinstance(task, Encode) and task.ratio == R768
    bench.encode()
    bench.results(result(0, k=8))
    (row,) = bench.rows.values()
    assert row["cbr"] == "1/384"
    assert row["notes"] == "a note; at most 1/768: 1/384 takes 0.56 s of air at 2 frames/s"


# Settings


def test_auto_is_the_largest_ratio_of_the_codec() -> None:
    for codec in ("null", "compact"):
        settings = make_settings(
            overrides={"codec": codec, "tx.bandwidth_ratio": "auto", "tx.target_fps": 2}
        )
        assert with_ratio(settings).tx.bandwidth_ratio == ["1/48"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tx.bandwidth_ratio": "auto"}, "needs target_fps or target_psnr_db"),
        ({"tx.bandwidth_ratio": ["auto", "1/48"], "tx.target_fps": 2}, "goes with no other"),
        ({"tx.target_fps": 0}, "tx.target_fps"),
    ],
)
def test_what_cannot_be_asked_for_is_a_sentence(given: dict, words: str) -> None:
    with pytest.raises(SettingsError) as error:
        make_settings(overrides=given)
    assert words in sentence(error)
