"""One frame at the channel: what is kept of it, what a FRAME must be, and what its ARRIVAL says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from channel.medium import Medium, Reception, joined
from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.payloads import check_reference, check_side, symbols_of
from simulator.link.states import AT_CHANNEL, Stateful, Table
from simulator.phy.packets import FEEDBACK_AND_PACKETS
from simulator.settings import ChannelSettings

HELD = ("half", "queued", "leased")  # states of an entry whose symbols are here


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
    rounds: list[Reception] = field(default_factory=list)  # that have come
    frame: m.Frame | None = None  # of round 0
    beside: tuple[Any, ...] = (b"", b"")  # side information and reference, from round 0
    modelled_s: float = 0.0  # on the air, all rounds
    observed_s: float = 0.0
    came_at: float = 0.0  # the FRAME of round 0

    def forget_rounds(self) -> None:
        """The frame starts again at round 0."""
        self.rounds.clear()
        self.frame, self.beside = None, (b"", b"")
        self.modelled_s = self.observed_s = 0.0

    def keep(
        self,
        frame: m.Frame,
        received: Reception,
        beside: tuple[Any, ...],
        booked: tuple[float, float],
        now: float,
    ) -> None:
        """One round has come. ``booked``: seconds of air, and when it has left it."""
        if not self.rounds:
            self.frame, self.beside, self.came_at = frame, beside, now
        self.rounds.append(received)
        self.modelled_s += booked[0]
        self.arrived_at = booked[1]
        self.observed_s += booked[1] - now


def check_request(request: m.Request, medium: Medium, superposes: bool = False) -> None:
    """Raises ``WireError`` for frames that this channel cannot carry."""
    if request.place is not None and not superposes:
        reason = "this channel superposes nobody; start both with the same channel.superposed"
        raise m.WireError("unsupported", reason)
    if medium.by_radio != (request.point.channel == "radio"):
        here = "hands frames to a radio" if medium.by_radio else "emulates the air"
        reason = f"this channel {here}; start tx with its channel.kind, not {request.point.channel}"
        raise m.WireError("unsupported", reason)
    medium.check_kind(request.point.channel)
    medium.snr_db(request.point)
    law, each = medium.law(request.point), -(-request.k // request.rounds)
    values = request.rounds * sum(law.received(each))
    if medium.impairments and law.received(each) != (law.pilots(each), each):
        raise m.WireError("unsupported", "impairments are of one radio at each end")
    if request.rounds > 1 and medium.packets.size:
        raise m.WireError("unsupported", FEEDBACK_AND_PACKETS)
    if medium.packets.count(request.k) > 8 * c.MAX_LOST_BYTES:
        raise m.WireError("unsupported", f"{request.k} symbols are too many for such small packets")
    if 8 * values > c.MAX_PART_BYTES:
        reason = f"{request.k} symbols would arrive as {values} values, which no message holds"
        raise m.WireError("unsupported", reason)


def grant_of(
    frame_id: bytes, entry: Entry, medium: Medium, settings: str
) -> tuple[m.Grant, tuple[Any, ...]]:
    """The GRANT for the next round. In round 0 it holds what the transmitter knows of the channel,
    later what the receiver knows and has received. ``settings``: their hash."""
    key, point, number = entry.request.draw_key, entry.request.point, len(entry.rounds)
    state, returned = medium.csit(key, point, entry.request.k), np.empty(0, np.complex64)
    h = state.h
    if number:
        last = entry.rounds[-1]
        h = last.h if medium.settings.csir == "perfect" else last.h[:0]
        returned = medium.returned(key, point, last.symbols, number - 1)
    grant = m.Grant(frame_id=frame_id, snr_db=state.snr_db, settings=settings, number=number)
    return grant, (h.data, returned.data)


def checked(
    frame: m.Frame, parts: tuple[Any, ...], entry: Entry, codec: str, medium: Medium
) -> np.ndarray:
    """(P + K,) complex64 of a FRAME that is what was granted. Raises ``WireError``."""
    asked = entry.request
    if (asked.draw_key, asked.point) != (frame.draw_key, frame.point):
        raise m.WireError("bad-message", "this FRAME is not the one that was granted")
    if entry.frame and frame.k != entry.frame.k:
        reason = f"{frame.k} symbols in round {frame.number}, {entry.frame.k} before"
        raise m.WireError("bad-message", reason)
    if asked.rounds * frame.k > asked.k:
        reason = f"{asked.rounds * frame.k} symbols, but at most {asked.k} were granted"
        raise m.WireError("bad-message", reason)
    if frame.codec != codec:
        raise m.WireError("bad-message", f"codec {frame.codec!r} is not the one of HELLO")
    pilots = medium.law(frame.point).pilots(frame.k)
    if frame.pilots != pilots:
        raise m.WireError("bad-payload", f"{frame.pilots} pilots instead of {pilots}")
    sent = symbols_of(frame, parts[0])
    power = float(np.vdot(sent, sent).real) / len(sent)
    if not 0 < power <= 1 + c.POWER_TOLERANCE:
        raise m.WireError(
            "bad-payload", f"mean symbol power {power:.3g}; send more than 0, at most 1"
        )
    check_side(parts[1])
    check_reference(frame, parts[2])
    return sent


def packed(lost: np.ndarray) -> bytes:
    """A bit for each packet."""
    return np.packbits(lost).tobytes()


def arrival_of(
    entry: Entry, medium: Medium, settings: ChannelSettings
) -> tuple[m.Arrival, tuple[Any, ...]]:
    """What a receiver hears of a frame whose rounds have all come, and the binary parts of it."""
    frame, received, count = entry.frame, joined(entry.rounds), len(entry.rounds)
    assert frame is not None
    air = m.Air(
        tx=entry.tx,
        snr_db=received.snr_db,
        csit="average" if settings.coherence_time else settings.csit,
        csir=settings.csir,
        h_abs2=received.h_abs2,
        received_snr_db=received.received_snr_db,
        papr_db=received.papr_db,
        feedback_bits=received.feedback_bits,
        queue_s=0,
        airtime_modelled_s=entry.modelled_s,
        airtime_observed_s=entry.observed_s,
        came_at_s=entry.came_at,
    )
    sent = {name: getattr(frame, name) for name in m.Sent.__struct_fields__}
    sent |= {"k": count * frame.k, "pilots": count * frame.pilots}
    uses = count * medium.law(frame.point).uses(frame.k)
    side_uses = medium.side_uses(frame.point, len(entry.beside[0]))
    gains = received.h if settings.csir == "perfect" else received.h[:0]
    arrival = m.Arrival(
        **sent, air=air, rounds=count, uses=uses, side_uses=side_uses, lost=packed(received.lost)
    )
    return arrival, (received.symbols.data, gains.data, *entry.beside)
