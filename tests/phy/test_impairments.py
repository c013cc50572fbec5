"""Each impairment against what defines it."""

from dataclasses import replace

import numpy as np
import pytest

from simulator.air import AirSettings
from simulator.phy.impairments import IMPAIRMENTS, applied, papr_db, parse
from simulator.phy.laws import Laws, Waveform
from simulator.phy.streams import complex_normal, stream

RATE = 1e6
N = 200_000
TIMES = np.arange(N)


def generator(seed: int = 0) -> np.random.Generator:
    return stream(bytes([seed]) * 32, "impairment", 2)


def impaired(text: str, x: np.ndarray, seed: int = 1) -> np.ndarray:
    return applied([(parse(text, RATE), generator(seed))], x, TIMES[: len(x)])


def power(x: np.ndarray) -> float:
    return float(np.mean(np.abs(x) ** 2))


@pytest.fixture
def gaussian() -> np.ndarray:
    return complex_normal(generator(), N)


def test_clipping_keeps_phases_and_ends_amplitudes(gaussian: np.ndarray) -> None:
    """The power that is left of Gaussian samples: 1 - exp(-A^2)."""
    got = impaired("clip:ratio=1.2", gaussian)
    assert np.abs(got).max() == pytest.approx(1.2, rel=1e-6)
    assert np.allclose(np.angle(got), np.angle(gaussian), atol=1e-5)
    assert power(got) == pytest.approx(1 - np.exp(-(1.2**2)), rel=0.01)
    assert papr_db(got) < papr_db(gaussian) - 5


def test_an_amplifier_is_linear_below_and_flat_above_saturation() -> None:
    x = np.array([0.01, 1.0, 1000.0, 1000j], np.complex64)
    got = impaired("rapp:backoff_db=6,smoothness=2", x)
    full = 10 ** (6 / 20)
    assert got[0] == pytest.approx(0.01, rel=1e-6)
    assert got[1] == pytest.approx(1 / (1 + full**-4) ** 0.25, rel=1e-6)
    np.testing.assert_allclose(np.abs(got[2:]), full, rtol=1e-5)
    assert np.angle(got[3]) == pytest.approx(np.pi / 2)


def test_iq_imbalance_has_its_image_rejection(gaussian: np.ndarray) -> None:
    """(1 + 2 g cos phi + g^2) / (1 - 2 g cos phi + g^2), with a tone."""
    tone = np.exp(2j * np.pi * 0.1 * TIMES).astype(np.complex64)
    spectrum = np.abs(np.fft.fft(impaired("iq:gain_db=1,phase_deg=3", tone))) ** 2
    measured = spectrum[N // 10] / spectrum[-N // 10]
    g, phi = 10 ** (1 / 20), np.deg2rad(3)
    expected = (1 + 2 * g * np.cos(phi) + g * g) / (1 - 2 * g * np.cos(phi) + g * g)
    assert measured == pytest.approx(expected, rel=1e-3)
    assert np.array_equal(impaired("iq", gaussian), gaussian)


def test_a_carrier_beside_turns_the_samples() -> None:
    got = impaired("cfo:hz=250", np.ones(4001, np.complex64))  # a turn in 4,000 samples
    assert got[1000] == pytest.approx(1j, abs=1e-5) and got[4000] == pytest.approx(1, abs=1e-5)


def test_phase_noise_spreads_with_time() -> None:
    """The variance of the phase after n samples: 2 pi linewidth n / rate."""
    walks = [
        impaired("phase-noise:linewidth_hz=10", np.ones(400, np.complex64), i) for i in range(200)
    ]
    last = np.var([np.angle(walk[399] / walk[0]) for walk in walks])
    assert last == pytest.approx(2 * np.pi * 10 / RATE * 399, rel=0.4)
    assert np.allclose(np.abs(walks), 1, atol=1e-6)


@pytest.mark.parametrize("bits", [1, 4, 8, 12])
def test_a_converter_gains_six_decibels_a_bit(bits: int, gaussian: np.ndarray) -> None:
    """Noise of even steps is step^2 / 12 a part while nothing is cut; one bit is the sign alone."""
    got = impaired(f"adc:bits={bits},headroom_db=14", gaussian)
    full = 10 ** (14 / 20) * 0.5**0.5
    assert len(np.unique(got.real)) <= 2**bits
    if bits == 1:
        np.testing.assert_allclose(np.abs(got.real), full / 2, rtol=0.01)
    else:
        assert power(got - gaussian) == pytest.approx(2 * (2 * full / 2**bits) ** 2 / 12, rel=0.05)


@pytest.mark.parametrize("length", [1, 20])
def test_pulses_come_as_often_and_as_loud_as_said(length: int) -> None:
    text = f"impulsive:probability=0.002,power_db=20,length={length}"
    got = impaired(text, np.zeros(N, np.complex64))
    share = np.mean(got != 0)
    expected = 1 - (1 - 0.002) ** length
    assert share == pytest.approx(expected, rel=0.12)
    assert power(got) / share == pytest.approx(100, rel=0.12)


def test_order_matters_and_is_kept(gaussian: np.ndarray) -> None:
    texts = ("clip:ratio=1", "rapp:backoff_db=0")
    one = [(parse(text, RATE), generator()) for text in texts]
    assert not np.allclose(applied(one, gaussian, TIMES), applied(one[::-1], gaussian, TIMES))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo", "there is no impairment 'echo'; there are clip, rapp"),
        ("clip", "clip needs ratio"),
        ("clip:ratio=0", "ratio must be above 0"),
        ("clip:ratio=nan", "ratio needs a finite number"),
        ("rapp:backoff_db=3,taps=2", "rapp has no 'taps'; it has backoff_db, smoothness"),
        ("cfo:hz=many", "hz needs a number"),
        ("cfo:rate_hz=3", "cfo has no 'rate_hz'"),
        ("adc:bits=2.5", "bits must be a whole number"),
        ("impulsive:probability=2,power_db=0", "probability must lie within"),
        ("iq:phase_deg=90", "phase_deg must lie within"),
    ],
)
def test_what_is_no_impairment(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="impairment") as error:
        AirSettings(impairments=[text])
    assert reason in str(error.value)


def test_all_are_in_the_description_of_the_setting() -> None:
    text = AirSettings.model_fields["impairments"].description or ""
    assert all(name in text for name in IMPAIRMENTS)


@pytest.mark.parametrize("kind", ["rayleigh", "multipath"])
@pytest.mark.parametrize("k", [64, 100, 250])
def test_samples_go_there_and_back(kind: str, k: int) -> None:
    law = Laws(Waveform(coherence_time=20, pilots=4, pilot_spacing=2)).of(kind)
    symbols = complex_normal(generator(), k + law.pilots(k))
    samples, times = law.samples(symbols, k), law.times(k)
    np.testing.assert_allclose(law.symbols(samples, k), symbols, atol=1e-6)
    assert times.shape == samples.shape and len(np.unique(times)) == times.size
    assert times.max() < law.uses(k)


def test_pilots_are_on_the_air_in_front_of_their_block() -> None:
    """coherence_time 5, 2 pilots: p p s s s | p p s."""
    law = Laws(Waveform(coherence_time=5, pilots=2)).of("rayleigh")
    assert law.times(4).tolist() == [0, 1, 5, 6, 2, 3, 4, 7]


def test_the_peak_of_ofdm_is_higher() -> None:
    law, k = Laws(Waveform()).of("multipath"), 6400
    symbols = np.exp(2j * np.pi * generator().integers(0, 4, k) / 4).astype(np.complex64)
    assert papr_db(symbols) == pytest.approx(0, abs=1e-4)
    assert 8 < papr_db(law.samples(symbols, k)) < 13


@pytest.mark.parametrize(
    "wave", [Waveform(scramble=True), Waveform(pilots=1, comb=4, pilot_spacing=2, scramble=True)]
)
def test_scrambling_takes_the_peaks_of_symbols_that_resemble_one_another(wave) -> None:
    """Of equal symbols one sample in 64 has all the power, and behind a chirp all have as much."""
    law, k = Laws(wave).of("multipath"), 64 * 48
    sent = np.concatenate([law.pilot_symbols(k), np.ones(k, np.complex64)])
    plain = replace(law, scramble=False)
    assert papr_db(plain.samples(sent, k)) > 16
    assert papr_db(law.samples(sent, k)) < (0.01 if not wave.comb else 10)
    np.testing.assert_allclose(law.symbols(law.samples(sent, k), k), sent, atol=1e-5)
    np.testing.assert_array_equal(law.scrambled(sent, k)[: law.pilots(k)], law.pilot_symbols(k))
