"""The digital baselines over several antennas: symbols whose streams are not alike, and bounds."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from simulator.air import AirSettings
from simulator.chain import Draw
from simulator.methods.digital import capacity
from simulator.methods.digital.codes import make_block
from simulator.methods.digital.mcs import ALL
from simulator.methods.digital.modulation import QPSK
from simulator.methods.digital.success import success
from simulator.methods.digital.transmission import send
from simulator.methods.method import Point
from simulator.phy.state import ChannelState

POINT = Point("mimo", Fraction(1, 96), 8.0)
SCHEMES: dict[str, dict[str, Any]] = {
    "mrc": {"mimo": {"scheme": "mrc", "transmit": 1, "receive": 3}},
    "alamouti": {"csir": "estimated"},
    "multiplexing": {"mimo": {"scheme": "multiplexing", "receive": 3}},
    "svd": {"mimo": {"scheme": "svd"}},
}


def draw(i: int, **air: Any) -> Draw:
    return Draw.under(AirSettings(kind="mimo", **air), hashlib.sha256(b"%d" % i).digest(), POINT)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_frames_of_good_channels_are_decoded(scheme: str) -> None:
    """All of those whose weakest symbol has 4 dB: the code of rate 1/2 needs 1 dB for QPSK."""
    block = make_block("802.11n", 648, Fraction(1, 2))
    bits = np.random.default_rng(0).integers(0, 2, block.information, np.uint8)
    good = 0
    for i in range(60):
        drawn = draw(i, **SCHEMES[scheme])
        weakest = np.abs(drawn.gains(324)).min() ** 2 * 10 ** (POINT.snr_db / 10)
        if weakest > 10**0.4:
            good += 1
            assert np.array_equal(send(block, QPSK, bits, drawn), bits)
    assert good > 10


def test_a_weak_stream_is_doubted_and_a_strong_one_is_not() -> None:
    """Over singular vectors the code decides by the strong half of the symbols: without the noise
    of each, more frames are lost."""
    block = make_block("802.11n", 648, Fraction(1, 2))
    bits = np.random.default_rng(0).integers(0, 2, block.information, np.uint8)
    symbols = QPSK.map(block.encode(bits[None]))[0]
    known = unknown = 0
    for i in range(120):
        drawn = draw(i, mimo={"scheme": "svd"})
        heard = drawn.transmit(symbols).heard
        equalised = heard.equalised("zero-forcing")[None]
        said = heard.noise_variance("zero-forcing")
        flat = np.full(len(symbols), ChannelState(POINT.snr_db).noise_variance)
        for variance, count in ((said, "known"), (flat, "unknown")):
            got = block.decode(QPSK.demap(equalised, variance))[0]
            known += count == "known" and np.array_equal(got, bits)
            unknown += count == "unknown" and np.array_equal(got, bits)
    assert known > unknown + 3


def test_capacity_is_that_of_the_matrix_in_the_uses_that_symbols_have() -> None:
    for scheme, uses in {"mrc": 300, "alamouti": 300, "multiplexing": 150, "svd": 150}.items():
        air = {"mimo": SCHEMES[scheme].get("mimo", {})}
        drawn = draw(1, **air)
        n_t, n_r = drawn.law.antennas.transmit, drawn.law.antennas.receive
        h = drawn.medium.gains(drawn.key, POINT, 300).reshape(n_r, n_t)
        eigenvalues = np.linalg.svd(h)[1] ** 2
        rate = np.log2(1 + 10**0.8 * eigenvalues / n_t).sum()
        assert capacity.instantaneous(drawn, 300) == pytest.approx(rate * uses / 300, rel=1e-6)


def test_ergodic_capacity_is_the_mean_over_matrices() -> None:
    """Of 2 x 2, by the density of an eigenvalue (Telatar, 1999), in half as many uses."""
    drawn = draw(1, mimo={"scheme": "multiplexing"})
    x = (np.arange(60_000) + 0.5) / 1000
    rates = np.log2(1 + 10**0.8 * x / 2)
    whole = np.sum(rates * (1 + (1 - x) ** 2) * np.exp(-x)) / 1000
    assert capacity.ergodic(drawn, 300) == pytest.approx(whole / 2, rel=0.01)


def test_a_scheme_is_chosen_by_the_gains_behind_the_detector() -> None:
    """At 8 dB: streams that disturb one another lose more frames than two that are combined."""
    (mcs,) = [each for each in ALL if str(each) == "QPSK 1/2"]
    rates = {s: success(draw(1, **SCHEMES[s]), "802.11n", mcs, 324) for s in SCHEMES}
    crowded = success(draw(1, mimo={"scheme": "multiplexing"}), "802.11n", mcs, 324)
    assert crowded < rates["svd"] < rates["multiplexing"] < rates["mrc"]
