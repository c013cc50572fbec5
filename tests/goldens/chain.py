"""Digests of one frame's symbols on their way, for every setting of the channel.

sent (K,) -> received (P + K,) -> equalised (K,), all complex64 of numpy alone.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

import numpy as np

from rx.chain import NullDecoder
from simulator.air import AirSettings
from simulator.chain import Draw, Link
from simulator.methods.method import Point
from simulator.phy.reception import Equalizer
from tx.encoder import NullEncoder

HEIGHT, WIDTH = 96, 128
RATIO = "1/96"
DRAW_KEY = hashlib.sha256(b"golden").digest()

Case = tuple[str, Equalizer, dict[str, Any]]

#: (channel, equalizer, settings of the channel) by name.
AIRS: dict[str, Case] = {
    "awgn": ("awgn", "zero-forcing", {}),
    "rayleigh": ("rayleigh", "zero-forcing", {}),
    "rician": ("rician", "zero-forcing", {"rician_k_db": 3.0}),
    "mmse": ("rayleigh", "mmse", {}),
    "average": ("rayleigh", "zero-forcing", {"csit": "average"}),
    "delayed": ("rayleigh", "zero-forcing", {"csit": "delayed", "block_correlation": 0.9}),
    "assumed": ("rayleigh", "mmse", {"assumed_snr_db": 10.0}),
    "estimated": ("rayleigh", "zero-forcing", {"csir": "estimated", "pilots": 8}),
    "blocks": ("rayleigh", "mmse", {"coherence_time": 50, "csit": "average"}),
    "blocks estimated": (
        "rician",
        "zero-forcing",
        {
            "coherence_time": 40,
            "csit": "average",
            "csir": "estimated",
            "pilots": 4,
            "block_correlation": 0.5,
        },
    ),
}


def with_draws(version: int) -> dict[str, Case]:
    return {
        f"{name}, draws {version}": (kind, equalizer, {**settings, "draws": version})
        for name, (kind, equalizer, settings) in AIRS.items()
    }


#: Runs of before draws had versions must find theirs again: they have the first.
CASES = with_draws(1) | with_draws(2)


def digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, "<c8").tobytes()).hexdigest()[:16]


def measure() -> dict[str, dict[str, str]]:
    return {name: digests(*case) for name, case in CASES.items()}


def digests(kind: str, equalizer: Equalizer, settings: dict[str, Any]) -> dict[str, str]:
    point = Point(kind, Fraction(RATIO), 4.0)
    draw = Draw.under(AirSettings(kind=[kind], **settings), DRAW_KEY, point)
    link = Link(NullEncoder(), NullDecoder(), equalizer)
    got = link.send(np.zeros((HEIGHT, WIDTH, 3), np.uint8), point.cbr, draw)
    return {
        "csit": digest(np.array([draw.csit(len(got.sent)).gain])),
        "sent": digest(got.sent),
        "received": digest(got.air.received),
        "equalised": digest(got.equalised),
    }
