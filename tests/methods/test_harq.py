"""Hybrid ARQ: rounds are taken as they are needed, and their LLRs are added."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from helpers import draw_at

from simulator.methods.digital import success as measured
from simulator.methods.digital.harq import ROUNDS, HarqMcs
from simulator.methods.digital.mcs import ALL
from simulator.methods.digital.methods import make_method
from simulator.methods.digital.success import success, success_at
from simulator.methods.digital.system import NOT_DECODED, channel_uses
from simulator.methods.method import Point

POINT = Point("rayleigh", Fraction(1, 48), 10.0)


@pytest.fixture
def harq(monkeypatch: pytest.MonkeyPatch) -> HarqMcs:
    """With the scheme QPSK 1/2, which needs 1 dB: chosen by nobody, so that it is the same."""
    monkeypatch.setattr(measured, "CODEWORDS", 48)
    method = make_method("hevc+ldpc-harq")
    assert isinstance(method, HarqMcs)
    (mcs,) = [each for each in ALL if str(each) == "QPSK 1/2"]
    monkeypatch.setattr(method, "choose", lambda *_: mcs)
    return method


@pytest.fixture
def image() -> np.ndarray:
    rows = np.linspace(0, 255, 256).astype(np.uint8)
    return np.repeat(np.repeat(rows[:, None, None], 384, axis=1), 3, axis=2)


@pytest.mark.parametrize(
    ("gain_db", "rounds"), [(-5.0, 1), (-10.5, 2), (-12.5, 3), (-13.9, 4), (-25.0, None)]
)
def test_each_round_adds_its_power(harq, image, gain_db: float, rounds: int | None) -> None:
    """At 10 dB QPSK 1/2 is right above a gain of -8 dB alone, of -11 with two rounds, and so on."""
    sent = harq.send(image, POINT, draw_at(POINT, h=10 ** (gain_db / 20)))
    each = channel_uses(image, POINT) // ROUNDS
    if rounds is None:
        assert sent.outage and sent.details["outage_reason"] == NOT_DECODED
        assert (sent.rounds, sent.k) == (ROUNDS, ROUNDS * each)
    else:
        assert not sent.outage and (sent.rounds, sent.k) == (rounds, rounds * each)


def test_packets_that_are_lost_in_one_round_come_in_the_next(harq, image) -> None:
    """Half of them are lost each time: no first round is right, and none fails after four."""
    packets = {"size": 20, "loss": 0.5}
    taken = [
        harq.send(image, POINT, draw_at(POINT, seed=seed, h=1.5, packets=packets))
        for seed in range(6)
    ]
    assert all(not sent.outage and 1 < sent.rounds <= ROUNDS for sent in taken)


def test_rounds_are_reckoned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "CODEWORDS", 48)
    (mcs,) = [each for each in ALL if str(each) == "QPSK 1/2"]
    point = Point("awgn", Fraction(1, 96), -2.0)
    alone = success(draw_at(point), "802.11n", mcs, 324)
    assert alone == 0
    assert success(draw_at(point), "802.11n", mcs, 324, 4) == success_at(
        "802.11n", mcs, 324, -2 + 10 * np.log10(4)
    )
    lossy = draw_at(Point("awgn", Fraction(1, 96), 6.0), packets={"size": 20, "loss": 0.6})
    once, all_four = (success(lossy, "802.11n", mcs, 324, rounds) for rounds in (1, 4))
    assert once < 0.2 and all_four > 0.8
