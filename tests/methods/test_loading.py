"""Bit loading: symbols of several modulations, which are chosen, and what that gains."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from code_world import random_bits
from helpers import draw_at

from simulator.errors import SettingsError
from simulator.methods.digital import success as measured
from simulator.methods.digital.abstraction import information_at
from simulator.methods.digital.codes import make_block
from simulator.methods.digital.loading import Loaded, choices, success_of
from simulator.methods.digital.methods import make_method
from simulator.methods.digital.modulation import MODULATIONS
from simulator.methods.digital.transmission import send
from simulator.methods.method import Point
from simulator.phy.streams import complex_normal
from tests.bench.loading import alike, draw_of, loaded

RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "CODEWORDS", 96)


def test_symbols_of_several_modulations_go_there_and_back() -> None:
    loaded = Loaded(np.array([0, 1, 2, 6, 4, 0, 6, 2] * 500))
    bits = random_bits((3, loaded.coded))
    symbols = loaded.map(bits)
    assert loaded.coded == 21 * 500 and symbols.shape == (3, 4000)
    assert np.mean(np.abs(symbols) ** 2) == pytest.approx(1, abs=0.03)
    assert not symbols[:, 0::8].any() and not symbols[:, 5::8].any()
    levels = {size: len(np.unique(symbols[:, loaded.bits == size])) for size in (1, 2, 4, 6)}
    assert levels == {1: 2, 2: 4, 4: 16, 6: 64}
    llr = loaded.demap(symbols, 0.01)
    np.testing.assert_array_equal(llr < 0, bits)


def test_llrs_are_those_of_each_modulation() -> None:
    """Neighbours of the code are spread over the frame; the power of silence is taken back."""
    loaded = Loaded(np.array([2, 0, 4, 4]))
    received, variance = complex_normal(RNG(0), 4)[None], np.array([0.1, 1, 0.2, 0.4])
    a = (4 / 3) ** 0.5
    parts = [
        MODULATIONS[name].demap(received[:, at] / np.float32(a), variance[at] / a**2)
        for name, at in (("QPSK", [0]), ("16-QAM", [2, 3]))
    ]
    expected = np.concatenate(parts, axis=1)
    got = loaded.demap(received, variance)
    np.testing.assert_allclose(np.sort(got), np.sort(expected), rtol=1e-5)
    assert not np.allclose(got, expected)


def test_no_other_loading_of_as_many_bits_has_more_information() -> None:
    """All 625 of four gains, at SNRs where none is silent."""
    gains = np.array([[0.4, 0.8, 1.1, 1.6]], np.complex64)
    counts = np.array([10, 20, 10, 20])
    received_db = 16 + 20 * np.log10(np.abs(gains[0]))
    tables = {0: np.zeros(4)} | {
        modulation.bits: information_at(modulation, received_db)
        for modulation in MODULATIONS.values()
    }
    most: dict[int, float] = {}
    for sizes in product(tables, repeat=4):
        coded = int(counts @ sizes)
        own = sum(counts[i] * tables[size][i] for i, size in enumerate(sizes))
        most[coded] = max(most.get(coded, 0.0), own)
    found = [each for each in choices(gains, counts, 16.0) if (each.bits > 0).all()]
    assert len({each.coded for each in found}) >= 4
    for each in found:
        assert each.information[0] * each.coded == pytest.approx(most[each.coded])
    assert all(a.coded >= b.coded for a, b in pairwise(found))


def test_what_is_too_weak_is_silent_and_leaves_its_power() -> None:
    gains = np.array([[0.05, 1.0]], np.complex64)
    found = [each for each in choices(gains, np.array([32, 32]), 6.0) if each.information[0] > 0.5]
    assert found
    for each in found:
        assert each.bits[0] == 0
        modulation = {m.bits: m for m in MODULATIONS.values()}[int(each.bits[1])]
        twice_db = np.array([6.0 + 10 * np.log10(2)])
        expected = information_at(modulation, twice_db)[0] / modulation.bits
        assert each.information[0] == pytest.approx(expected, abs=1e-3)
    assert not list(choices(np.zeros((1, 2), np.complex64), np.array([3, 4]), 6.0))


@pytest.mark.parametrize("settings", [{}, {"csit": "delayed", "block_correlation": 0.9}], ids=str)
def test_frames_arrive_as_often_as_is_reckoned(settings: dict) -> None:
    """Over gains that the transmitter knows, or that have changed since."""
    k, rate, expected, arrived = 640, Fraction(1, 2), [], []
    for seed in range(60):
        draw = draw_of(seed, 9.0, **settings)
        of_symbols = draw.law.of_symbols(k)
        known = choices(draw.likely(k, 16), np.bincount(of_symbols, minlength=64), 9.0)
        choice = min(known, key=lambda each: abs(each.information.mean() - 0.56))
        loaded = Loaded(choice.bits[of_symbols])
        block = make_block("802.11n", loaded.coded, rate)
        bits = random_bits((block.information,), seed)
        expected.append(success_of("802.11n", rate, choice, [1.0]))
        arrived.append((send(block, loaded, bits, draw) == bits).all())
    assert 0.2 < np.mean(expected) < 0.9
    spread = np.sqrt(np.mean(np.multiply(expected, 1 - np.array(expected))) / 60)
    assert abs(np.mean(arrived) - np.mean(expected)) < 3 * spread + 0.06


def test_loading_brings_more_than_one_modulation_for_all() -> None:
    """Over 30 channels at 10 dB, with as much information to spare; gains in 2 x 4 bits are nearly
    as good as the gains themselves."""
    seeds = range(30)
    one = np.mean([alike(draw_of(seed, 10.0)) for seed in seeds])
    known = np.mean([loaded(draw_of(seed, 10.0)) for seed in seeds])
    told = [loaded(draw_of(seed, 10.0, csit="quantised", csit_bits=4)) for seed in seeds]
    assert known > 1.15 * one
    assert np.mean(told) == pytest.approx(known, rel=0.05)


def test_the_gains_must_be_known() -> None:
    at = draw_at(Point("multipath", Fraction(1, 96), 10.0), csit="average")
    with pytest.raises(SettingsError, match="CSIT is the average"):
        make_method("jpeg2000+ldpc-loading").send(np.zeros((96, 128, 3), np.uint8), at.point, at)


def test_a_picture_arrives() -> None:
    draw = draw_of(0, 12.0)
    picture = RNG(0).integers(0, 255, (96, 128, 3), np.uint8)
    sent = make_method("jpeg2000+ldpc-loading").send(picture, draw.point, draw)
    assert not sent.outage and sent.details["mcs"].startswith("loaded ")
    assert sent.k == 384 and sent.details["budget_bits"] > 384


def test_lost_packets_are_reckoned_with() -> None:
    """Where a tenth of the symbols do not arrive, a code has to have room for it."""
    draw, counts = draw_of(0, 9.0), np.full(64, 10)
    found = choices(draw.likely(640, 1), counts, 9.0)
    choice = min(found, key=lambda each: abs(each.information[0] - 0.58))
    lossy = ([1.0], [0.9], [1.0, 0.6])
    whole, thinned, half = (success_of("802.11n", Fraction(1, 2), choice, kept) for kept in lossy)
    assert thinned < 0.9 < whole
    assert half == pytest.approx(whole / 2)
