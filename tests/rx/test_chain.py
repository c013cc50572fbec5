"""From received symbols to a preview: the noise of each symbol."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from rx.service import make_decoders
from simulator.air import AirSettings
from simulator.chain import Draw, load_link
from simulator.images import load_image, sample_photographs
from simulator.jscc.signal import ToDecode
from simulator.link.ids import draw_key
from simulator.methods.method import Point
from simulator.phy.reception import Heard
from simulator.phy.state import ChannelState
from simulator.settings import make_settings

K = 200_000


def heard(kind: str, snr_db: float = 5.0) -> tuple[np.ndarray, Heard]:
    """Unit-power symbols and what comes of them under gains of their own."""
    rng = np.random.default_rng(0)

    def normal() -> np.ndarray:
        return (rng.normal(size=K) + 1j * rng.normal(size=K)) / np.sqrt(2)

    h = normal() if kind == "each" else np.array([0.6 - 0.5j])
    symbols = normal()
    received = h * symbols + normal() * 10 ** (-snr_db / 20)
    state = ChannelState(snr_db, h.astype(np.complex64))
    block = np.arange(K) if kind == "each" else None
    return symbols, Heard(received.astype(np.complex64), state, block)


def test_the_variance_is_that_of_the_noise_behind_zero_forcing():
    symbols, frame = heard("each")
    noise = frame.equalised("zero-forcing") - symbols
    variance = frame.noise_variance("zero-forcing")
    assert variance is not None and variance.dtype == np.float32
    assert np.mean(np.abs(noise) ** 2 / variance) == pytest.approx(1, abs=0.01)


def test_the_variance_is_that_of_the_noise_behind_mmse():
    """Which shrinks the symbol, too: that is no noise."""
    symbols, frame = heard("each")
    n0 = frame.state.noise_variance
    power = np.abs(frame.h) ** 2
    noise = frame.equalised("mmse") - power / (power + n0) * symbols
    variance = frame.noise_variance("mmse")
    assert variance is not None
    assert np.mean(np.abs(noise) ** 2 / variance) == pytest.approx(1, abs=0.01)


def test_one_gain_says_it_all():
    assert heard("one")[1].noise_variance("zero-forcing") is None


def test_a_gain_of_zero_stays_finite():
    frame = Heard(
        np.ones(2, np.complex64), ChannelState(10.0, np.array([0, 1], np.complex64)), np.arange(2)
    )
    for equalizer in ("zero-forcing", "mmse"):
        variance = frame.noise_variance(equalizer)
        assert variance is not None and np.isfinite(variance).all()


def test_the_codec_gains_by_the_noise_of_each_symbol():
    """Under fading faster than the image: 2 dB or more over the root mean square gain."""
    link, gained = load_link("compact"), []
    settings, point = AirSettings(coherence_time=64), Point("rayleigh", Fraction(1, 96), snr_db=1.0)
    for path in sample_photographs()[:3]:
        picture = load_image(path)
        pixels = picture.pixels[:256, :256].copy()
        draw = Draw.under(settings, draw_key(0, picture.sha256, 0), point)
        received = link.send(pixels, point.cbr, draw)
        state = received.air.heard.state
        size = (pixels.shape[0], pixels.shape[1])
        one = link.decoder.decode(ToDecode(received.equalised, state, size))
        errors = [np.mean((each.astype(float) - pixels) ** 2) for each in (one, received.pixels)]
        gained.append(10 * np.log10(errors[0] / errors[1]))
    assert np.mean(gained) > 2


def test_a_decoder_in_half_precision_costs_next_to_nothing():
    picture = load_image(sample_photographs()[0])
    pixels = picture.pixels[:192, :192].copy()
    point = Point("awgn", Fraction(1, 96), snr_db=10.0)
    draw = Draw.under(AirSettings(), draw_key(0, picture.sha256, 0), point)
    received = load_link("compact").send(pixels, point.cbr, draw)
    given = ToDecode(received.equalised, received.air.heard.state, (192, 192))
    decoders = [
        make_decoders(make_settings(overrides={"rx.decoder_dtype": dtype, "rx.device": "cpu"}))
        for dtype in ("float32", "bfloat16")
    ]
    exact, half = (each.preview.decode(given).astype(float) for each in decoders)
    assert 0 < np.square(half - exact).mean() < 1
    assert 10 * np.log10(np.square(half - pixels).mean() / np.square(exact - pixels).mean()) < 0.05
