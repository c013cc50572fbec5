"""Bursts of random frames, and an air that does to them what radios do."""

from __future__ import annotations

import hashlib

import numpy as np

from simulator.phy.burst import Burst
from simulator.phy.pilots import pilot_symbols

AMPLITUDE = 0.2


def burst(name: int, k: int = 3072, pilots: int = 16) -> tuple[Burst, np.ndarray]:
    """A burst, and the (P + K,) symbols of its frame."""
    rng = np.random.default_rng(name)
    made = Burst(hashlib.sha256(b"%d" % name).digest(), pilot_symbols(pilots), k)
    symbols = rng.normal(size=(k, 2)) @ [1, 1j] / 2**0.5
    return made, np.concatenate([made.pilots, symbols]).astype(np.complex64)


def through(
    samples: np.ndarray,
    sps: int,
    snr_db: float,
    rng: np.random.Generator,
    *,
    delay: float = 0.0,
    offset: float = 0.0,
    gain: complex = 1.0,
    tail: int = 1500,
) -> np.ndarray:
    """Complex64: later by ``delay`` samples, at a carrier ``offset`` in cycles per symbol, with a
    ``gain``, in noise at Es/N0 of ``snr_db``."""
    count = len(samples) + int(delay) + tail
    size = 1 << (count + 1000).bit_length()
    spectrum = np.fft.fft(samples, size) * np.exp(-2j * np.pi * np.fft.fftfreq(size) * delay)
    moved = np.fft.ifft(spectrum)[:count] * gain
    turned = moved * np.exp(2j * np.pi * offset / sps * np.arange(count))
    sigma = abs(gain) * AMPLITUDE * (sps / 2) ** 0.5 * 10 ** (-snr_db / 20)
    noisy: np.ndarray = turned + sigma * (rng.normal(size=(count, 2)) @ [1, 1j])
    return noisy.astype(np.complex64)
