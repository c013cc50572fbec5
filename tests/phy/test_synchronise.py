"""Bursts are found, and what radios do to them is undone: measured against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from burst_world import AMPLITUDE, burst, through

from simulator.phy.burst import PREAMBLE, SILENCE, Burst
from simulator.phy.hunt import Hunt
from simulator.phy.synchronise import MAX_OFFSET, Received, residual_offset, starts


def heard(made: Burst, samples: np.ndarray, sps: int, max_offset: float = 0.02) -> Received:
    """In pieces of odd sizes."""
    hunt = Hunt(made, sps, max_offset)
    for piece in np.array_split(samples, 7):
        if (found := hunt.feed(piece)) is not None:
            return found
    raise AssertionError("it was not found")


def noise_db(made: Burst, frame: np.ndarray, got: Received) -> float:
    """What the symbols differ by, in dB below their power."""
    k = made.k
    error = np.mean(np.abs(got.symbols[-k:] - frame[-k:]) ** 2)
    return float(-10 * np.log10(error))


@pytest.mark.parametrize("sps", [1, 2, 4])
@pytest.mark.parametrize("snr_db", [0.0, 5.0, 10.0, 20.0])
def test_symbols_have_the_noise_of_the_air_and_its_snr_is_measured(sps: int, snr_db: float) -> None:
    """Over random delays, phases, gains and offsets."""
    measured, left = [], []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        made, frame = burst(seed)
        samples = made.modulated(frame, sps, AMPLITUDE)
        delay = rng.uniform(0, 900) if sps > 1 else float(rng.integers(0, 900))
        gain = rng.uniform(0.01, 5) * np.exp(2j * np.pi * rng.random())
        offset = rng.uniform(-0.02, 0.02)
        air = through(samples, sps, snr_db, rng, delay=delay, offset=offset, gain=gain)
        got = heard(made, air, sps)
        measured.append(got.snr_db - snr_db)
        left.append(noise_db(made, frame, got) - snr_db)
        assert got.offset == pytest.approx(offset, abs=1e-4)
        assert abs(got.gain) / AMPLITUDE == pytest.approx(abs(gain) * sps**0.5, rel=0.2)
    # Estimates from 768 symbols vary by 0.16 dB at a high SNR, and by 0.27 dB at 0 dB.
    assert np.mean(np.abs(measured) < 0.5) >= 0.85
    assert np.sqrt(np.mean(np.square(measured))) < (0.35 if snr_db < 3 else 0.25)
    assert abs(np.mean(measured)) < 0.15
    assert np.mean(left) > -0.3 and min(left) > -1  # what synchronising costs


@pytest.mark.parametrize("offset", [-MAX_OFFSET, -0.0513, 0.0, 0.0039, 0.0978])
@pytest.mark.parametrize("sps", [1, 2, 4])
def test_offsets_up_to_a_tenth_of_the_symbol_rate_are_undone(offset: float, sps: int) -> None:
    left = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        made, frame = burst(seed)
        air = through(made.modulated(frame, sps, AMPLITUDE), sps, 15, rng, offset=offset, delay=40)
        got = heard(made, air, sps, MAX_OFFSET)
        # The bound of Cramer and Rao is 1.9e-6 for this preamble, these pilots and this SNR.
        assert got.offset == pytest.approx(offset, abs=1e-5)
        left.append(noise_db(made, frame, got))
    assert np.median(left) == pytest.approx(15, abs=0.3)


@pytest.mark.parametrize("late", np.arange(0, 1, 0.125))
@pytest.mark.parametrize("sps", [2, 4])
def test_any_fraction_of_a_sample_is_undone(late: float, sps: int) -> None:
    rng = np.random.default_rng(2)
    made, frame = burst(2)
    air = through(made.modulated(frame, sps, AMPLITUDE), sps, 40, rng, delay=100 + late)
    assert noise_db(made, frame, heard(made, air, sps)) > 36


@pytest.mark.parametrize("snr_db", [0, 10])
def test_long_bursts_are_in_phase_until_their_end(snr_db: int) -> None:
    """A preamble alone would leave half a turn at the end of 24,576 symbols."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        made, frame = burst(seed, k=24_576, pilots=64)
        air = through(made.modulated(frame, 2, AMPLITUDE), 2, snr_db, rng, offset=0.01234)
        got = heard(made, air, 2)
        last = frame[-500:].conj() @ got.symbols[-500:]
        assert abs(np.angle(last)) < 0.4
        assert noise_db(made, frame, got) > snr_db - 0.7


def test_few_pilots_and_few_symbols_will_do() -> None:
    for k, pilots in ((1, 1), (2, 3), (96, 1), (97, 16)):
        made, frame = burst(3, k, pilots)
        assert np.array_equal(made.gathered(made.spread(frame)), frame)
        air = through(made.modulated(frame, 4, AMPLITUDE), 4, 30, np.random.default_rng(0))
        assert np.allclose(heard(made, air, 4).symbols, frame, atol=0.2)


def test_pilots_are_spread_and_the_last_is_the_last() -> None:
    made, _ = burst(0, k=96, pilots=4)
    assert list(made.of_pilots) == [24, 49, 74, 99]


def test_samples_have_the_amplitude_that_was_asked_for_and_silence_around() -> None:
    for sps in (1, 4):
        made, frame = burst(0)
        samples = made.modulated(frame, sps, 0.2)
        inner = samples[(SILENCE + 50) * sps : -(SILENCE + 50) * sps]
        assert np.sqrt(np.mean(np.abs(inner) ** 2)) == pytest.approx(0.2, rel=0.02)
        assert not samples[: SILENCE * sps].any() and not samples[-SILENCE * sps :].any()
        assert len(samples) >= (PREAMBLE + len(frame) + 2 * SILENCE - 1) * sps


@pytest.mark.parametrize("what", ["noise", "zeros", "constant", "tone", "symbols"])
@pytest.mark.parametrize("sps", [1, 4])
def test_nothing_is_found_where_there_is_no_preamble(what: str, sps: int) -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    noise = rng.normal(size=(n, 2)) @ [1, 1j]
    made, frame = burst(0, k=40_000)
    samples = {
        "noise": noise,
        "zeros": np.zeros(n),
        "constant": np.ones(n) + 0.1 * noise,
        "tone": np.exp(0.3j * np.arange(n)) + 0.1 * noise,
        "symbols": made.modulated(frame, sps)[(SILENCE + PREAMBLE) * sps :],
    }[what]
    assert not list(starts(samples.astype(np.complex64), sps, MAX_OFFSET))


def test_another_burst_is_not_taken_for_this_one() -> None:
    rng = np.random.default_rng(0)
    (late, old), (made, frame) = burst(1), burst(2)
    samples = np.concatenate(
        [late.modulated(old, 4, AMPLITUDE), made.modulated(frame, 4, AMPLITUDE)]
    )
    air = through(samples, 4, 3, rng, offset=0.01, delay=10.5)
    hunt = Hunt(made, 4, 0.02)
    got = hunt.feed(air)
    assert got is not None and noise_db(made, frame, got) > 2
    alone = Hunt(made, 4, 0.02)
    assert alone.feed(through(late.modulated(old, 4, AMPLITUDE), 4, 30, rng)) is None
    assert alone.strangers


def test_a_strong_burst_hides_no_weak_one() -> None:
    rng = np.random.default_rng(0)
    (strong, a), (weak, b) = burst(1), burst(2)
    samples = np.concatenate([strong.modulated(a, 4, 1.0), weak.modulated(b, 4, AMPLITUDE)])
    hunt = Hunt(weak, 4, 0.02)
    got = hunt.feed(through(samples, 4, 12, rng))
    assert got is not None and got.snr_db == pytest.approx(12, abs=0.5)


@pytest.mark.parametrize("sps", [1, 4])
def test_symbols_that_are_all_alike_hide_no_preamble(sps: int) -> None:
    """As of an image of one colour: each place in them looks like two equal halves."""
    made, frame = burst(1, k=24_576)
    frame[len(made.pilots) :] = 1
    air = through(made.modulated(frame, sps, AMPLITUDE), sps, 20, np.random.default_rng(0))
    assert np.mean(np.abs(heard(made, air, sps).symbols - frame) ** 2) < 0.02


def test_an_offset_that_changes_is_noticed() -> None:
    made, frame = burst(1)
    samples = made.modulated(frame, 4, AMPLITUDE)
    time = np.arange(len(samples)) / len(samples)
    for turns, fits in ((0.1, True), (0.5, False), (1.0, False)):
        turned = (samples * np.exp(2j * np.pi * turns * time**2)).astype(np.complex64)
        air = through(turned, 4, 15, np.random.default_rng(0))
        if fits:
            assert noise_db(made, frame, heard(made, air, 4)) > 13.5
        else:
            with pytest.raises(ValueError, match="offset changed"):
                heard(made, air, 4)


def test_lost_samples_are_noticed() -> None:
    rng = np.random.default_rng(0)
    made, frame = burst(1)
    air = through(made.modulated(frame, 4, AMPLITUDE), 4, 10, rng)
    middle = len(air) // 2
    with pytest.raises(ValueError, match="samples were lost"):
        heard(made, np.delete(air, slice(middle, middle + 333)), 4)


@pytest.mark.parametrize("true", [-4e-4, -3.3e-5, 0, 2e-6, 4e-4])
def test_what_is_left_of_an_offset(true: float) -> None:
    where = np.concatenate([np.arange(PREAMBLE), PREAMBLE + 1000 * np.arange(1, 17)])
    assert residual_offset(np.exp(2j * np.pi * true * where), where) == pytest.approx(
        true, abs=1e-7
    )
