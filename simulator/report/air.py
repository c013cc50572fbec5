"""What multipath did to a frame: gain over the band, impulse response, spectrum as it was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.phy.law import Law
from simulator.phy.multipath import Multipath
from simulator.report import figures
from simulator.report.markup import Html, element

BINS = 64  # of the spectrum
FLOOR_DB = 40.0  # below the largest value nothing is drawn


@dataclass(frozen=True)
class Levels:
    """``db``: over ``unit``, of which the ends and the middle are named by ``ticks``."""

    title: str
    db: np.ndarray
    ticks: tuple[str, str, str]
    unit: str


def levels_of(law: Law, h: np.ndarray, sent: np.ndarray, k: int) -> list[Levels]:
    """Gains, impulse response and spectrum; none for a flat channel. ``h``: (count,); ``sent``:
    (P + K,) pilots and symbols of one round."""
    if not isinstance(law, Multipath):
        return []
    first = h.reshape(-1, law.subcarriers)[0]
    band = np.fft.fftshift(np.abs(first) ** 2)
    taps = np.abs(np.fft.ifft(first)[: law.cyclic_prefix + 1]) ** 2
    spectrum = np.fft.fftshift(spectrum_of(law.samples(sent, k).reshape(-1)))
    half = law.subcarriers // 2
    drawn = (
        ("gains, dB", band, (f"-{half}", "0", f"{half}"), "subcarrier"),
        ("impulse response, dB", taps, ("0", "", f"{len(taps) - 1}"), "samples"),
        ("spectrum, dB", spectrum, ("-1/2", "0", "1/2"), "cycles per sample"),
    )
    return [Levels(title, decibels(values), ticks, unit) for title, values, ticks, unit in drawn]


def responses(levels: Sequence[Levels], what: str) -> Html | None:
    """Figures beside a constellation; None where there are none."""
    if not levels:
        return None
    return element(
        "div",
        [
            element("div", element("b", each.title), figures.levels(
                each.db, each.ticks, each.unit, f"{what}: {each.title}, over {each.unit}"))
            for each in levels
        ],
        class_="clouds",
    )  # fmt: skip


def spectrum_of(samples: np.ndarray) -> np.ndarray:
    """(BINS,) mean power of each bin, in FFT order, under a Hann window (Welch)."""
    usable = len(samples) // BINS * BINS
    blocks = np.pad(samples, (0, BINS))[: max(usable, BINS)].reshape(-1, BINS)
    power: np.ndarray = (np.abs(np.fft.fft(blocks * np.hanning(BINS), axis=1)) ** 2).mean(axis=0)
    return power


def decibels(power: np.ndarray) -> np.ndarray:
    """Within ``FLOOR_DB`` of the largest."""
    largest = float(power.max()) or 1.0
    db: np.ndarray = 10 * np.log10(np.maximum(power, largest * 10 ** (-FLOOR_DB / 10)))
    return db
