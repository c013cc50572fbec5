"""What bit loading brings over multipath: information bits a symbol, before any picture.

A scheme is the best of all rates that leave ``SPARE`` of the mutual information of a coded bit
unused, which long codes need to arrive. Gains are those of eight exponential taps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from simulator.air import AirSettings
from simulator.chain import Draw
from simulator.methods.digital.abstraction import information_at
from simulator.methods.digital.ldpc import RATES
from simulator.methods.digital.loading import DRAWS, Choice, choices
from simulator.methods.digital.modulation import MODULATIONS
from simulator.methods.method import Point

SPARE = 0.05
SUBCARRIERS, EACH = 64, 10  # symbols of each
CHANNELS = 40
KNOWN: dict[str, dict[str, Any]] = {
    "known": {},
    "in 2 x 4 bits": {"csit": "quantised", "csit_bits": 4},
    "delayed, 0.9": {"csit": "delayed", "block_correlation": 0.9},
}


def draw_of(seed: int, snr_db: float, **settings: Any) -> Draw:
    """A channel of its own for each seed."""
    point = Point("multipath", Fraction(1, 96), snr_db)
    air = AirSettings.model_validate({"kind": ["multipath"], **settings})
    return Draw.under(air, hashlib.sha256(bytes([seed])).digest(), point)


def promised(found: Iterable[Choice]) -> float:
    """Information bits a symbol of the best rate and loading."""
    coded = (
        each.coded * float(rate)
        for each in found
        for rate in RATES
        if each.information.mean() >= float(rate) + SPARE
    )
    return max(coded, default=0.0) / (SUBCARRIERS * EACH)


def loaded(draw: Draw) -> float:
    """Of a transmitter that knows as much as the draw says."""
    counts = np.full(SUBCARRIERS, EACH)
    return promised(choices(draw.likely(SUBCARRIERS, DRAWS), counts, draw.given_snr_db))


def alike(draw: Draw) -> float:
    """Of one modulation for all, which knows the gains."""
    received_db = draw.given_snr_db + 20 * np.log10(np.abs(draw.gains(SUBCARRIERS)))
    found = []
    for modulation in MODULATIONS.values():
        share = information_at(modulation, received_db).mean() / modulation.bits
        coded = SUBCARRIERS * EACH * modulation.bits
        bits = np.full(SUBCARRIERS, modulation.bits)
        found.append(Choice(bits, coded, np.array([share])))
    return promised(found)


def run() -> Table:
    """Means over ``CHANNELS``; percentages are those of one modulation for all."""
    table = Table(title="bit loading, information bits a symbol", box=box.SIMPLE_HEAD)
    for head in ("SNR", "one modulation", *(f"loading, {name}" for name in KNOWN)):
        table.add_column(head, justify="right")
    for snr_db in (1.0, 4.0, 7.0, 10.0, 13.0):
        base = np.mean([alike(draw_of(seed, snr_db)) for seed in range(CHANNELS)])
        row = [f"{snr_db:.0f} dB", f"{base:.2f}"]
        for settings in KNOWN.values():
            draws = (draw_of(seed, snr_db, **settings) for seed in range(CHANNELS))
            mean = np.mean([loaded(draw) for draw in draws])
            row.append(f"{mean:.2f} ({mean / base:.0%})")
        table.add_row(*row)
    return table
