"""What a radio does to the samples besides the channel: pure functions, in any order.

    symbols -samples-> [clip, rapp] -channel, noise-> [cfo, iq, adc, ...] -> symbols

One impairment is written ``NAME:KEY=VALUE,KEY=VALUE``, and is a class and a line in
``IMPAIRMENTS``. Those of the transmitter come before the channel, those of the receiver after it;
among themselves they keep their order. The samples have mean power 1 at the transmitter; what an
impairment takes of it is not given back. SNR is that of the channel: no impairment is in it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import ClassVar, Literal

import numpy as np

from simulator.phy.streams import complex_normal

Place = Literal["tx", "rx"]
Generator = np.random.Generator
TINY = 1e-30  # a power; keeps the ratio of silence finite


class Impairment(ABC):
    """``place``: at which end. A call takes complex samples of any shape, when each is on the air
    (in samples) and a random generator, and returns as many samples, complex64."""

    place: ClassVar[Place]

    @abstractmethod
    def __call__(self, x: np.ndarray, times: np.ndarray, generator: Generator) -> np.ndarray: ...


@dataclass(frozen=True)
class Clip(Impairment):
    """Amplitudes end at ``ratio`` times the root mean square of 1 (clipping ratio)."""

    ratio: float
    place = "tx"

    def __post_init__(self) -> None:
        _require(self.ratio > 0, "ratio must be above 0")

    def __call__(self, x: np.ndarray, times: np.ndarray, generator: Generator) -> np.ndarray:
        size = np.maximum(np.abs(x), self.ratio)
        return _single(x * (self.ratio / size))


@dataclass(frozen=True)
class Rapp(Impairment):
    """A solid-state amplifier (Rapp 1991): x / (1 + (|x| / A)^(2 p))^(1 / 2p). ``backoff_db``: of
    the mean power below saturation, A^2; ``smoothness``: p."""

    backoff_db: float
    smoothness: float = 2.0
    place = "tx"

    def __post_init__(self) -> None:
        _require(abs(self.backoff_db) <= 60, "backoff_db must lie within -60 to 60")
        _require(0.1 <= self.smoothness <= 20, "smoothness must lie within 0.1 to 20")

    def __call__(self, x: np.ndarray, times: np.ndarray, generator: Generator) -> np.ndarray:
        p = self.smoothness
        level = np.abs(x) / 10 ** (self.backoff_db / 20)
        return _single(x / (1 + level ** (2 * p)) ** (1 / (2 * p)))


@dataclass(frozen=True)
class IqImbalance(Impairment):
    """The two branches differ by ``gain_db`` and by ``phase_deg`` from a right angle:
    mu x + nu conj(x), mu = (1 + g e^(-j phi)) / 2, nu = (1 - g e^(j phi)) / 2."""

    gain_db: float = 0.0
    phase_deg: float = 0.0
    place = "rx"

    def __post_init__(self) -> None:
        _require(abs(self.gain_db) <= 20, "gain_db must lie within -20 to 20")
        _require(abs(self.phase_deg) < 90, "phase_deg must lie within -90 to 90")

    def __call__(self, x: np.ndarray, times: np.ndarray, generator: Generator) -> np.ndarray:
        turn = 10 ** (self.gain_db / 20) * np.exp(1j * np.deg2rad(self.phase_deg))
        mu, nu = (1 + turn.conjugate()) / 2, (1 - turn) / 2
        return _single(mu * x + nu * x.conj())


@dataclass(frozen=True)
class FrequencyOffset(Impairment):
    """The receiver's carrier lies ``hz`` beside the transmitter's."""

    hz: float
    rate_hz: float
    place = "rx"

    def __call__(self, x: np.ndarray, times: np.ndarray, generator: Generator) -> np.ndarray:
        return (x * np.exp(2j * np.pi * np.mod(self.hz / self.rate_hz * times, 1.0))).astype(
            np.complex64
        )


@dataclass(frozen=True)
class PhaseNoise(Impairment):
    """A free-running oscillator: phases are a Wiener process. ``linewidth_hz``: the full width of
    its Lorentzian spectrum at half of the power; a step has variance 2 pi linewidth / rate."""

    linewidth_hz: float
    rate_hz: float
    place = "rx"

    def __post_init__(self) -> None:
        _require(self.linewidth_hz >= 0, "linewidth_hz must not be negative")

    def __call__(self, x: np.ndarray, times: np.ndarray, generator: Generator) -> np.ndarray:
        steps = generator.standard_normal(int(times.max()) + 1)
        phases = np.cumsum(steps * np.sqrt(2 * np.pi * self.linewidth_hz / self.rate_hz))
        return _single(x * np.exp(1j * phases[times]))


@dataclass(frozen=True)
class Adc(Impairment):
    """A converter of ``bits`` for each part, of even steps up to ``headroom_db`` above the root
    mean square of the frame; what is above is cut."""

    bits: float
    headroom_db: float = 10.0
    place = "rx"

    def __post_init__(self) -> None:
        _require(self.bits in range(1, 25), "bits must be a whole number from 1 to 24")
        _require(0 <= self.headroom_db <= 60, "headroom_db must lie within 0 to 60")

    def __call__(self, x: np.ndarray, times: np.ndarray, generator: Generator) -> np.ndarray:
        parts = np.ascontiguousarray(x, np.complex64).view(np.float32)
        full = float(np.sqrt(np.mean(parts**2))) * 10 ** (self.headroom_db / 20)
        if not full:
            return x
        levels = 2 ** int(self.bits)
        step = 2 * full / levels
        codes = np.clip(np.floor(parts / step), -levels // 2, levels // 2 - 1)
        quantised: np.ndarray = ((codes + 0.5) * step).astype(np.float32).view(np.complex64)
        return quantised


@dataclass(frozen=True)
class ImpulsiveNoise(Impairment):
    """Pulses of ``length`` samples, which begin at each sample with ``probability``: Gaussian, and
    ``power_db`` above the mean power of what is sent (Bernoulli-Gaussian for length 1)."""

    probability: float
    power_db: float
    length: float = 1
    place = "rx"

    def __post_init__(self) -> None:
        _require(0 <= self.probability <= 1, "probability must lie within 0 to 1")
        _require(abs(self.power_db) <= 100, "power_db must lie within -100 to 100")
        _require(self.length in range(1, 10**6), "length must be a whole number from 1")

    def __call__(self, x: np.ndarray, times: np.ndarray, generator: Generator) -> np.ndarray:
        n, length = int(times.max()) + 1, int(self.length)
        begun = np.cumsum(generator.random(n) < self.probability)
        before = np.concatenate([np.zeros(length, begun.dtype), begun[: max(n - length, 0)]])[:n]
        amplitude = np.float32(10 ** (self.power_db / 20))
        pulses = (begun > before) * complex_normal(generator, n) * amplitude
        return _single(x + pulses[times])


IMPAIRMENTS: dict[str, type[Impairment]] = {
    "clip": Clip,
    "rapp": Rapp,
    "iq": IqImbalance,
    "cfo": FrequencyOffset,
    "phase-noise": PhaseNoise,
    "adc": Adc,
    "impulsive": ImpulsiveNoise,
}


def parse(text: str, rate_hz: float) -> Impairment:
    """``NAME:KEY=VALUE,KEY=VALUE`` at this sample rate. Raises ``ValueError`` with a sentence."""
    name, _, rest = text.partition(":")
    cls = IMPAIRMENTS.get(name)
    if cls is None:
        raise ValueError(f"there is no impairment {name!r}; there are {', '.join(IMPAIRMENTS)}")
    declared = [field for field in fields(cls) if field.name != "rate_hz"]  # type: ignore[arg-type]
    keys = ", ".join(field.name for field in declared)
    values: dict[str, float] = {}
    for part in rest.split(",") if rest else ():
        key, _, value = part.partition("=")
        if key not in [field.name for field in declared]:
            raise ValueError(f"impairment {text!r}: {name} has no {key!r}; it has {keys}")
        try:
            values[key] = float(value)
        except ValueError:
            raise ValueError(f"impairment {text!r}: {key} needs a number") from None
        if not math.isfinite(values[key]):
            raise ValueError(f"impairment {text!r}: {key} needs a finite number")
    missing = [f.name for f in declared if f.default is MISSING and f.name not in values]
    if missing:
        raise ValueError(f"impairment {text!r}: {name} needs {', '.join(missing)}")
    in_hz = {"rate_hz": rate_hz} if len(declared) < len(fields(cls)) else {}  # type: ignore[arg-type]
    try:
        return cls(**values, **in_hz)
    except ValueError as error:
        raise ValueError(f"impairment {text!r}: {error}") from None


def applied(
    impairments: Sequence[tuple[Impairment, Generator]], x: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """One after the other."""
    for impairment, generator in impairments:
        x = impairment(x, times, generator)
    return x


def papr_db(x: np.ndarray) -> float:
    """Peak power over mean power, in dB, at the samples that there are."""
    parts = np.ascontiguousarray(x).view(x.real.dtype).reshape(-1)
    peak = float((parts[::2] ** 2 + parts[1::2] ** 2).max())
    mean = float(np.dot(parts, parts)) / x.size
    return float(10 * np.log10(max(peak, TINY) / max(mean, TINY)))


def _single(x: np.ndarray) -> np.ndarray:
    single: np.ndarray = x.astype(np.complex64)
    return single


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)
