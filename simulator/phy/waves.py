"""Gains of paths over time, each a sum of sinusoids from all around (Clarke's model).

    g(t) = sqrt(power / S) sum over i of e^(2 pi i (f t cos(2 pi (i + u) / S) + start_i))
    E g(t) conj(g(t + d)) = power J0(2 pi f d)         where u and the starts are uniform

A line of sight is one sinusoid more on the first path.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.phy.profile import Profile

SINUSOIDS = 32  # S, of the Doppler spectrum of each path
LOS_DOPPLER = 0.7  # of the line of sight, in units of the largest (3GPP TR 38.901, 7.7.2)
POINTS = 1024  # directions that stand for all
COSINES = np.cos(2 * np.pi * (np.arange(POINTS) + 0.5) / POINTS)
FAR = 900.0  # from here on ``POINTS`` are too few, and what is left is 1 / x^2 of the value
ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Waves:
    """``around``: (paths, 1), u; ``starts``: (paths, S); ``line``: the start of a line of sight,
    None where there is none. All are in turns."""

    around: np.ndarray
    starts: np.ndarray
    line: float | None

    @classmethod
    def draw(cls, generator: np.random.Generator, profile: Profile) -> Waves:
        paths = len(profile.powers)
        around, starts = generator.random((paths, 1)), generator.random((paths, SINUSOIDS))
        return cls(around, starts, generator.random() if profile.line_of_sight else None)

    @staticmethod
    def count(profile: Profile) -> int:
        """Of ``values``."""
        return len(profile.powers) * (1 + SINUSOIDS) + bool(profile.line_of_sight)

    def values(self) -> np.ndarray:
        """(count,) complex64 of size 1 that say all of it."""
        line = [] if self.line is None else [self.line]
        return turned(np.concatenate([self.around.reshape(-1), self.starts.reshape(-1), line]))

    @classmethod
    def of(cls, values: np.ndarray, profile: Profile) -> Waves:
        """The inverse of ``values``, to their rounding."""
        paths = len(profile.powers)
        turns = np.mod(np.angle(values.astype(np.complex128)) / (2 * np.pi), 1.0)
        around, starts, line = np.split(turns, [paths, paths * (1 + SINUSOIDS)])
        return cls(
            around[:, None], starts.reshape(paths, -1), float(line[0]) if len(line) else None
        )

    def gains(
        self,
        profile: Profile,
        doppler: float,
        rows: np.ndarray,
        columns: np.ndarray,
        paths: slice = ALL,
        mean: bool = False,
    ) -> np.ndarray:
        """(paths, rows, columns) complex64 at the times rows + columns; with ``mean``: that over
        columns, of which one is left. ``doppler``: the largest shift, in turns per unit of time."""
        around = np.arange(SINUSOIDS) + self.around[paths]
        turns = doppler * np.cos(2 * np.pi * around / SINUSOIDS)
        # e^(i turns (a + b)) is a product, and the sum over sinusoids that of matrices.
        coarse = turned(turns[:, None] * rows[:, None] + self.starts[paths, None])
        fine = turned(turns[:, :, None] * columns)
        gains: np.ndarray = coarse @ (fine.mean(axis=2, keepdims=True) if mean else fine)
        gains *= np.sqrt(profile.powers[paths] / SINUSOIDS, dtype=np.float32)[:, None, None]
        if self.line is not None and not paths.start:
            line = turned(LOS_DOPPLER * doppler * (rows[:, None] + columns) + self.line)
            line *= np.float32(profile.line_of_sight**0.5)
            gains[0] += line.mean(axis=1, keepdims=True) if mean else line
        return gains


def turned(turns: np.ndarray) -> np.ndarray:
    """e^(2 pi i turns), complex64; phases are exact however large they are."""
    angle = (2 * np.pi * (turns - np.floor(turns))).astype(np.float32)
    waves = np.empty(angle.shape, np.complex64)
    # numpy vectorises both of real numbers, and no exp of complex ones: 14 times as fast.
    waves.real, waves.imag = np.cos(angle), np.sin(angle)
    return waves


def clarke(x: np.ndarray, power: np.ndarray | float = 1.0) -> np.ndarray:
    """The mean of power cos(x cos theta) over directions theta: J0(x) where all have the same.

    ``power``: of the directions whose cosines are ``COSINES``, symmetric in them.
    """
    flat = np.unique(np.asarray(x, float))
    means = np.array([(np.cos(value * COSINES) * power).mean() for value in flat])
    if flat[-1] > FAR:
        far = flat > FAR
        # What two directions say, along the movement and against it (stationary phase).
        phase, edge = flat[far] - np.pi / 4, np.broadcast_to(power, POINTS)[0]
        waves = np.cos(phase) + np.sin(phase) / (8 * flat[far])
        means[far] = edge * np.sqrt(2 / (np.pi * flat[far])) * waves
    values: np.ndarray = means[np.searchsorted(flat, x)]
    return values
