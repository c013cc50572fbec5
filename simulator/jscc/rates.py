"""Bandwidth ratio, latent layout and the complex packing, equation (1)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TypeVar

import numpy as np

from simulator.errors import SettingsError

Array = TypeVar("Array")

# rho = C_out / (3 * 2^(2D+1)) with D = 4: C_out = 2, 4, 8, 16, 32.
N_DOWNSAMPLE = 4
BANDWIDTH_RATIOS = tuple(Fraction(1, n) for n in (768, 384, 192, 96, 48))


def parse_ratio(text: str | float | Fraction) -> Fraction:
    """A bandwidth ratio from ``"1/384"``, ``0.0026`` or a fraction.

    Decimals snap to ``BANDWIDTH_RATIOS`` within 1 %, else to 1/n. Raises ``SettingsError``.
    """
    exact = "/" in str(text)
    try:
        # A float first: Fraction("1e-999999999") would write out all its digits.
        ratio = Fraction(str(text)) if exact else Fraction(str(float(text)))
    except (ValueError, ZeroDivisionError):
        raise SettingsError(
            f"{text!r} is not a bandwidth ratio; write a fraction such as 1/384."
        ) from None
    if not 0 < ratio <= 1:
        raise SettingsError(f"bandwidth ratio {text} is outside (0, 1]; try 1/384.")
    if exact or ratio.numerator == 1:
        return ratio
    near = min(BANDWIDTH_RATIOS, key=lambda known: abs(known - ratio))
    return near if abs(near - ratio) <= near / 100 else Fraction(1, round(1 / ratio))


def channels_of(ratio: Fraction, n_downsample: int = N_DOWNSAMPLE) -> int:
    """C_out, the number of real latent channels at a bandwidth ratio, equation (1)."""
    channels = ratio * 3 * 2 ** (2 * n_downsample + 1)
    if channels.denominator != 1 or channels.numerator % 2:
        raise SettingsError(
            f"bandwidth ratio {ratio} needs C_out = {float(channels):g} real channels at "
            f"{n_downsample} downsamplings; C_out must be an even whole number, "
            f"for example {ratio_of(max(2, round(float(channels) / 2) * 2), n_downsample)}."
        )
    return int(channels)


def ratio_of(channels: int, n_downsample: int = N_DOWNSAMPLE) -> Fraction:
    """The bandwidth ratio of C_out real channels, equation (1)."""
    return Fraction(channels, 3 * 2 ** (2 * n_downsample + 1))


@dataclass(frozen=True)
class Layout:
    """How K symbols stand for an image: packed row-major from (C/2, h, w)."""

    channels: int  # C_out, real
    height: int  # of the latent
    width: int

    @property
    def k(self) -> int:
        """Complex symbols, that is channel uses without pilots."""
        return self.channels * self.height * self.width // 2


def cells_of(size: tuple[int, int], n_downsample: int, min_cells: int) -> tuple[int, int]:
    """(h, w) of the latent of an image of ``size`` (H, W) pixels, padded up to whole cells."""
    cell = 2**n_downsample
    return max(min_cells, -(-size[0] // cell)), max(min_cells, -(-size[1] // cell))


def layout_of(
    ratio: Fraction, size: tuple[int, int], n_downsample: int = N_DOWNSAMPLE, min_cells: int = 1
) -> Layout:
    """The layout of an image of ``size`` (H, W) pixels."""
    return Layout(channels_of(ratio, n_downsample), *cells_of(size, n_downsample, min_cells))


def pack(latent: Array) -> Array:
    """(B, C, h, w) real -> (B, K) complex: channels [0, C/2) are the real parts."""
    half = latent.shape[1] // 2  # type: ignore[attr-defined]
    symbols = latent[:, :half] + 1j * latent[:, half:]  # type: ignore[index]
    return symbols.reshape(symbols.shape[0], -1)  # type: ignore[no-any-return]


@lru_cache(maxsize=8)
def null_symbols(k: int) -> np.ndarray:
    """K unit-power QPSK symbols, the same every time. complex64."""
    n = np.arange(k)
    return ((1 - 2 * (n & 1)) + 1j * (1 - (n & 2))).astype(np.complex64) / np.float32(2**0.5)
