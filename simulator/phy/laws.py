"""The kinds of channel by name.

tx, channel and rx make the same law of the same ``Waveform``, which WELCOME brings. A new kind is
a class of ``Law`` and a line in ``LAWS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from simulator.phy.allocation import Allocated, Power
from simulator.phy.antennas import Antennas
from simulator.phy.burst import PREAMBLE
from simulator.phy.estimate import Estimator
from simulator.phy.fading import KINDS, Fading
from simulator.phy.flat import Flat
from simulator.phy.intercarrier import Intercarrier
from simulator.phy.law import Law
from simulator.phy.mimo import Mimo
from simulator.phy.multipath import Multipath
from simulator.phy.packets import Packets
from simulator.phy.pilots import Blocks
from simulator.phy.profile import Name, profile_of

MAX_SUBCARRIERS = 4096
TWO_BY_TWO = Antennas()


@dataclass(frozen=True)
class Waveform:
    """How symbols go on the air. Raises ``ValueError`` for values that no channel has.

    ``coherence_time`` and ``pilots``: of the blocks of flat fading; ``rician_k``: linear;
    ``correlation``: of gains between blocks, or frames; ``estimated``: whether the receiver has
    pilots alone; ``packet_size`` and ``interleaved``: of ``packets``. The rest is of OFDM:
    ``delay_spread`` in samples, ``doppler`` in cycles a sample, ``within_symbol``: whether gains
    move within an OFDM symbol, too, ``power``: how subcarriers share it, ``scramble``: whether they
    are turned; and ``antennas`` of mimo, where ``pilots`` are those of each stream.
    """

    coherence_time: int = 0
    pilots: int = 0
    rician_k: float = 4.0
    correlation: float = 0.0
    profile: Name = "exponential"
    taps: int = 8
    delay_spread: float = 0.0
    doppler: float = 0.0
    subcarriers: int = 64
    cyclic_prefix: int = 16
    pilot_spacing: int = 0
    comb: int = 0
    estimator: Estimator = "lmmse"
    within_symbol: bool = False
    power: Power = "equal"
    scramble: bool = False
    antennas: Antennas = TWO_BY_TWO
    packet_size: int = 0
    interleaved: bool = True

    @property
    def packets(self) -> Packets:
        return Packets(self.packet_size, self.interleaved)

    def __post_init__(self) -> None:
        if not 2 <= self.subcarriers <= MAX_SUBCARRIERS or self.cyclic_prefix < 0:
            raise ValueError(f"{self.subcarriers} subcarriers, prefix {self.cyclic_prefix}")
        if not (0 <= self.doppler < 1 and 0 <= self.delay_spread < MAX_SUBCARRIERS):
            raise ValueError(f"doppler {self.doppler}, delay spread {self.delay_spread}")
        if not 1 <= self.taps <= MAX_SUBCARRIERS or self.pilot_spacing < 0:
            raise ValueError(f"{self.taps} taps, pilots every {self.pilot_spacing}")
        if self.comb == 1 or not 0 <= self.comb <= self.subcarriers:
            raise ValueError(
                f"a comb is of every 2 to {self.subcarriers} subcarriers, not {self.comb}; 0 takes "
                "whole OFDM symbols of pilots"
            )
        if not 0 <= self.correlation < 1 or not 0 <= self.rician_k < 1e6:
            raise ValueError(f"correlation {self.correlation}, K factor {self.rician_k}")
        if self.power != "equal" and (self.doppler or self.pilots):
            raise ValueError(f"power {self.power} with gains that move or pilots")
        if self.packet_size < 0:
            raise ValueError(f"packets of {self.packet_size}")
        if self.pilots < 0 or (self.coherence_time and self.coherence_time <= self.pilots):
            raise ValueError(f"{self.pilots} pilots in a block of {self.coherence_time}")


def flat(kind: str, waveform: Waveform) -> Flat:
    return Flat(
        kind,
        Fading(waveform.rician_k, waveform.correlation),
        Blocks(waveform.coherence_time, waveform.pilots),
    )


def multipath(kind: str, waveform: Waveform) -> Multipath:
    w = waveform
    made: Callable[..., Multipath] = Multipath
    if w.power != "equal":
        made = partial(Allocated, power=w.power)
    elif w.within_symbol and w.doppler:
        made = Intercarrier
    return made(
        profile_of(w.profile, w.taps, w.delay_spread),
        w.subcarriers,
        w.cyclic_prefix,
        w.doppler,
        w.pilots > 0,
        w.pilot_spacing,
        w.estimator,
        w.correlation,
        w.comb,
        w.scramble,
    )


def mimo(kind: str, waveform: Waveform) -> Mimo:
    return Mimo(waveform.antennas, waveform.pilots, waveform.correlation)


def radio(kind: str, waveform: Waveform) -> Flat:
    """One gain, which nobody draws, and the preamble of a burst."""
    return replace(flat(kind, waveform), preamble=PREAMBLE)


LAWS: dict[str, Callable[[str, Waveform], Law]] = {
    **dict.fromkeys(KINDS, flat),
    "multipath": multipath,
    "mimo": mimo,
    "radio": radio,
}


class Laws:
    """Of one waveform, each made once. A kind that is not known, as a plugin's, has the blocks and
    pilots of flat fading."""

    def __init__(self, waveform: Waveform) -> None:
        self.waveform = waveform
        self._made: dict[str, Law] = {}

    def of(self, kind: str) -> Law:
        if kind not in self._made:
            self._made[kind] = LAWS.get(kind, flat)(kind, self.waveform)
        return self._made[kind]
