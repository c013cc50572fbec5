"""Multipath beside Sionna's (extra ``nr``): the same statistics, within sampling error."""

import numpy as np
import pytest

from simulator.methods.digital.modulation import MODULATIONS
from simulator.phy.multipath import Multipath
from simulator.phy.profile import tapped
from simulator.phy.streams import complex_normal, stream

torch = pytest.importorskip("torch")
channel = pytest.importorskip("sionna.phy.channel", reason="the oracle needs the extra nr")

N, RATE_HZ, SPREAD_S, CARRIER_HZ = 64, 1e7, 150e-9, 3.5e9
FRAMES = 4000
MODELS = "ABCDE"


def gains_of(model: str, speed: float = 0.0, times: int = 1, frames: int = FRAMES) -> np.ndarray:
    """(frames, times, N) of Sionna, in FFT order; one time for each OFDM symbol of 80 samples."""
    from sionna.phy import config
    from sionna.phy.channel.tr38901 import TDL

    config.seed = 3
    made = TDL(model, SPREAD_S, CARRIER_HZ, min_speed=speed, max_speed=speed, num_sinusoids=32)
    paths, delays = made(frames, times, RATE_HZ / 80)
    f = channel.subcarrier_frequencies(N, RATE_HZ / N)
    h = channel.cir_to_ofdm_channel(f, paths, delays, normalize=False)
    return np.fft.ifftshift(h.numpy().reshape(frames, times, N), axes=2)


def ours(model: str, frames: int = FRAMES, **fields) -> tuple[Multipath, np.ndarray]:
    law = Multipath(tapped(f"tdl-{model.lower()}", SPREAD_S * RATE_HZ), N, 16, **fields)
    generator = stream(bytes(32), "h", 2)
    return law, np.stack([law.gains(generator, 20 * N) for _ in range(frames)])


@pytest.mark.parametrize("model", MODELS)
def test_subcarriers_are_correlated_alike(model: str) -> None:
    theirs = gains_of(model)[:, 0]
    law, mine = ours(model)
    for h in (theirs, mine):
        measured = h.T @ h.conj() / len(h)
        assert np.abs(measured - law.profile.correlation(N)).max() < 6 / np.sqrt(FRAMES)


@pytest.mark.parametrize("model", ["A", "D"])
def test_gains_move_alike(model: str) -> None:
    """500 Hz of Doppler, 20 OFDM symbols: the correlation over time."""
    speed = 500 * 299_792_458 / CARRIER_HZ
    theirs = gains_of(model, speed, 20, 1500)
    _, mine = ours(model, 1500, doppler=500 / RATE_HZ)
    lags = [
        np.array([(h[:, 0] * h[:, lag].conj()).mean() for lag in range(20)])
        for h in (theirs, mine.reshape(1500, 20, N))
    ]
    assert np.abs(np.abs(lags[0]) - np.abs(lags[1])).max() < 0.08


@pytest.mark.parametrize(("name", "snr_db"), [("QPSK", 5.0), ("16-QAM", 12.0)])
def test_bits_err_alike(name: str, snr_db: float) -> None:
    """Hard decisions behind zero forcing, the receiver knows the gains."""
    modulation = MODULATIONS[name]
    law, mine = ours("A")
    rates = []
    for h in (gains_of("A")[:, 0], mine):
        generator = stream(bytes(32), "bits", 2)
        wrong = []
        for one in h.astype(np.complex64):
            bits = generator.integers(0, 2, N * modulation.bits, np.uint8)
            noise = complex_normal(generator, N) * np.float32(10 ** (-snr_db / 20))
            heard = law.hear(one * modulation.map(bits) + noise, one, N, snr_db)
            llr = modulation.demap(heard.equalised("zero-forcing"), 1.0)
            wrong.append(np.mean((llr < 0) != bits))
        rates.append((np.mean(wrong), np.std(wrong) / np.sqrt(len(wrong))))
    (a, spread_a), (b, spread_b) = rates
    assert abs(a - b) < 4 * np.hypot(spread_a, spread_b) < 0.2 * a
