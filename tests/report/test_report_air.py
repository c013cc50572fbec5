"""The figures of what multipath did to a frame."""

import numpy as np

from simulator.phy.laws import Laws, Waveform
from simulator.phy.streams import complex_normal, stream
from simulator.report.air import BINS, FLOOR_DB, decibels, levels_of, responses, spectrum_of


def test_a_flat_channel_has_none() -> None:
    law = Laws(Waveform()).of("rayleigh")
    assert levels_of(law, np.ones(1, np.complex64), np.ones(4, np.complex64), 4) == []
    assert responses([], "a") is None


def test_three_figures_of_multipath() -> None:
    law = Laws(Waveform(doppler=1e-5, pilots=1)).of("multipath")
    generator = stream(bytes(32), "h", 2)
    h = law.gains(generator, 100)
    levels = levels_of(law, h, np.ones(100 + law.pilots(100), np.complex64), 100)
    drawn = str(responses(levels, "photo <1>"))
    assert drawn.count("<svg") == drawn.count("<polyline") == 3
    assert drawn.count("photo &lt;1&gt;") == 3 and "nan" not in drawn


def test_a_tone_is_one_line_of_the_spectrum() -> None:
    tone = np.exp(2j * np.pi * 8 / BINS * np.arange(20 * BINS)).astype(np.complex64)
    power = decibels(spectrum_of(tone))
    assert power.argmax() == 8 and power.min() == power.max() - FLOOR_DB
    white = 10 * np.log10(spectrum_of(complex_normal(stream(bytes(32), "n", 2), 4000 * BINS)))
    assert np.ptp(white) < 1
    assert spectrum_of(np.ones(5, np.complex64)).shape == (BINS,)


def test_silence_has_a_floor() -> None:
    assert np.all(np.isfinite(decibels(np.zeros(4))))
