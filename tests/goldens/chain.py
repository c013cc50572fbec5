"""Digests of one frame's symbols on their way, for every setting of the channel.

sent (K,) -> received (P + K,) -> equalised (K,), all complex64 of numpy alone.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

import numpy as np

from channel.medium import Medium
from rx import chain
from simulator.link import messages as m
from simulator.link.clock import monotonic
from simulator.phy import pilots
from simulator.settings import ChannelSettings
from tx.encoder import NullEncoder

HEIGHT, WIDTH = 96, 128
RATIO = "1/96"
DRAW_KEY = hashlib.sha256(b"golden").digest()

#: (channel, equalizer, settings of the channel) by name.
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
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


def digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, "<c8").tobytes()).hexdigest()[:16]


def measure() -> dict[str, dict[str, str]]:
    return {name: digests(*case) for name, case in CASES.items()}


def digests(kind: str, equalizer: str, settings: dict[str, Any]) -> dict[str, str]:
    medium = Medium(ChannelSettings(kind=[kind], **settings))
    point = m.Point(channel=kind, snr_db=4.0, bandwidth_ratio=RATIO)
    sent = NullEncoder().encode(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 4.0, 1, Fraction(RATIO))
    k = len(sent)
    p = medium.pilot_count(k)
    air = medium.transmit(DRAW_KEY, point, k, np.concatenate([pilots.pilot_symbols(p), sent]))
    s = medium.settings
    preview = chain.receive_preview(
        frame_of(point, k, p, air.snr_db),
        [air.symbols.tobytes(), b"" if p else air.h.tobytes()],
        chain.Medium(s.coherence_time, s.pilots_per_block),
        equalizer,
        chain.NullDecoder(),
        monotonic,
    )
    csit = np.array([medium.csit(DRAW_KEY, point, k)])
    found = {"csit": csit, "sent": sent, "received": air.symbols, "equalised": preview.symbols}
    return {name: digest(values) for name, values in found.items()}


def frame_of(point: m.Point, k: int, p: int, snr_db: float) -> m.Frame:
    air = m.Air(
        tx="tx",
        snr_db=snr_db,
        csit="",
        csir="",
        h_abs2=1,
        received_snr_db=0,
        queue_s=0,
        airtime_modelled_s=0,
        airtime_observed_s=0,
        came_at_s=0,
    )
    return m.Frame(
        frame_id=bytes(16),
        draw_key=DRAW_KEY,
        point=point,
        k=k,
        pilots=p,
        codec="null",
        height=HEIGHT,
        width=WIDTH,
        label="",
        image_sha256=bytes(32),
        settings="",
        air=air,
    )
