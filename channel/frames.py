"""One frame at the channel: what is kept of it, what a FRAME must be, and what its ARRIVAL says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from msgspec.structs import asdict

from channel.medium import Medium, Reception
from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.states import AT_CHANNEL, Stateful, Table
from simulator.settings import ChannelSettings


@dataclass
class Entry(Stateful):
    """A frame that the channel knows of."""

    table: ClassVar[Table] = AT_CHANNEL

    request: m.Request
    tx: str
    state: str = "waiting"
    until: float = 0.0  # when it is given up: waiting, granted, leased
    arrived_at: float = 0.0  # queued: when the frame has left the air
    arrival: m.Arrival | None = None
    parts: tuple[Any, ...] = ()
    codec: str = ""
    nbytes: int = 0
    receiver: bytes = b""
    lost: int = 0
    held_back: bool = False  # its tx was over a quota when it asked


def checked(
    frame: m.Frame, parts: tuple[Any, ...], asked: m.Request, codec: str, medium: Medium
) -> np.ndarray:
    """(P + K,) complex64 of a FRAME that is what was granted. Raises ``WireError``."""
    if (asked.draw_key, asked.point) != (frame.draw_key, frame.point):
        raise m.WireError("bad-message", "this FRAME is not the one that was granted")
    if frame.k > asked.k:
        reason = f"{frame.k} symbols, but at most {asked.k} were granted"
        raise m.WireError("bad-message", reason)
    if frame.codec != codec:
        raise m.WireError("bad-message", f"codec {frame.codec!r} is not the one of HELLO")
    pilots = medium.blocks.pilots(frame.k)
    if frame.pilots != pilots:
        raise m.WireError("bad-payload", f"{frame.pilots} pilots instead of {pilots}")
    sent = m.symbols_of(frame, parts[0])
    power = float(np.vdot(sent, sent).real) / len(sent)
    if not abs(power - 1) <= c.POWER_TOLERANCE:
        raise m.WireError("bad-payload", f"mean symbol power {power:.3g} instead of 1")
    m.check_reference(frame, parts[1])
    return sent


def arrival_of(
    frame: m.Frame,
    received: Reception,
    tx: str,
    settings: ChannelSettings,
    booked: tuple[float, float],
    now: float,
) -> m.Arrival:
    """What a receiver hears. ``booked``: seconds of air, and when the frame has left it."""
    modelled, arrived_at = booked
    air = m.Air(
        tx=tx,
        snr_db=received.snr_db,
        csit="average" if settings.coherence_time else settings.csit,
        csir=settings.csir,
        h_abs2=received.h_abs2,
        received_snr_db=received.received_snr_db,
        queue_s=0.0,
        airtime_modelled_s=modelled,
        airtime_observed_s=arrived_at - now,
        came_at_s=now,
    )
    return m.Arrival(**asdict(frame), air=air)
