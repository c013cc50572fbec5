"""The newest frames that have passed the channel, for those who watch: what it knows of each, the
receiver's row, and pictures that went back to tx.

    ARRIVAL -> at rx   STAGE -> preview, refined   RESULT -> stored   CONFIRM -> delivered

It hears what the channel sends and decides nothing. All of it is bounded: the oldest is forgotten.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simulator.link import messages as m
from simulator.link import watching as w
from simulator.link.heard import heard_of
from simulator.link.rows import ROW_KEYS

KEPT = 300  # frames; more than the channel holds at once by default
VALUES_BYTES = 2**20  # of all receivers' rows together
MAX_ROW_BYTES = 16 * 1024
MAX_TEXT = 500  # characters, of a value
PICTURES_BYTES = 8 * 2**20  # of all pictures together
KEYS = frozenset(ROW_KEYS)
FAILURES = ("failed", "receivers-lost")


@dataclass
class Sighting:
    """One frame. ``nbytes``: of ``values``."""

    number: int
    frame_id: bytes
    state: w.State = "at rx"
    change: int = 0
    reason: str = ""
    heard: dict[str, m.Value] = field(default_factory=dict)
    values: dict[str, m.Value] = field(default_factory=dict)
    nbytes: int = 0
    stages: dict[w.Stage, float] = field(default_factory=dict)
    symbols: bytes = b""
    gain: list[float] = field(default_factory=list)
    too_large: set[w.Stage] = field(default_factory=set)


class Watched:
    """``watched``: whether somebody looks on now; pictures are kept for nobody else."""

    def __init__(self) -> None:
        self.watched = False
        self.changes = 0
        self.states: Counter[w.State] = Counter()  # of all frames so far
        self._frames: OrderedDict[bytes, Sighting] = OrderedDict()  # the last changed one last
        self._number = 0
        self._values_bytes = 0
        self._pictures: OrderedDict[tuple[bytes, w.Stage], bytes] = OrderedDict()
        self._pictures_bytes = 0

    # -- what the channel sends --------------------------------------------------------------

    def sent(self, message: m.Message, parts: tuple[Any, ...], to: str) -> None:
        """A message has left. ``to``: the name of the receiver, of ARRIVAL and PAIR."""
        if isinstance(message, m.Arrival):
            self._arrived(message, parts, to)
        elif isinstance(message, m.Pair):
            self._arrived(message.first, parts, to)
            self._arrived(message.second, parts, to)
        elif isinstance(message, m.Stage):
            self._staged(message, parts[0])
        elif isinstance(message, m.Result):
            self._stored(message, parts)
        elif isinstance(message, m.Confirm):
            self._confirmed(message.frame_id)
        elif isinstance(message, m.Nack) and message.code in FAILURES:
            self._failed(message)

    def _arrived(self, arrival: m.Arrival, parts: tuple[Any, ...], to: str) -> None:
        frame = self._frame(arrival.frame_id)
        frame.reason, frame.heard = "", known_of(arrival, to)
        self._move(frame, "at rx")
        values = np.frombuffer(parts[0], np.complex64)[arrival.pilots :]
        frame.symbols = values[:: max(1, -(-len(values) // w.POINTS))].tobytes()
        gains = np.frombuffer(parts[1], np.complex64)
        if len(gains) == 1:
            frame.gain = [float(gains[0].real), float(gains[0].imag)]

    def _staged(self, stage: m.Stage, picture: Any) -> None:
        frame = self._frame(stage.frame_id)
        if frame.state in ("at rx", "preview"):
            self._move(frame, stage.stage)
        frame.stages[stage.stage] = stage.elapsed_s
        self._keep(frame, stage.stage, picture)

    def _stored(self, result: m.Result, parts: tuple[Any, ...]) -> None:
        frame = self._frame(result.frame_id)
        frame.heard.setdefault("tx", result.tx)
        if frame.state != "delivered":
            self._move(frame, "stored")
        self._put_values(frame, {**result.values, "receiver": result.receiver})
        for stage, picture in zip(("preview", "refined"), parts, strict=True):
            self._keep(frame, stage, picture)  # type: ignore[arg-type]

    def _confirmed(self, frame_id: bytes) -> None:
        if frame_id in self._frames:
            self._move(self._frame(frame_id), "delivered")

    def _failed(self, nack: m.Nack) -> None:
        if nack.frame_id is not None and nack.frame_id in self._frames:
            frame = self._frame(nack.frame_id)
            frame.reason = nack.reason
            self._move(frame, "failed")

    # -- what is kept ------------------------------------------------------------------------

    def _frame(self, frame_id: bytes) -> Sighting:
        """It changes now."""
        frame = self._frames.get(frame_id)
        if frame is None:
            self._number += 1
            frame = self._frames[frame_id] = Sighting(self._number, frame_id)
            self.states[frame.state] += 1
        self.changes += 1
        frame.change = self.changes
        self._frames.move_to_end(frame_id)
        while len(self._frames) > KEPT:
            self._forget()
        return frame

    def _move(self, frame: Sighting, state: w.State) -> None:
        self.states[frame.state] -= 1
        self.states[state] += 1
        frame.state = state

    def _forget(self) -> None:
        frame_id, frame = self._frames.popitem(last=False)
        self._values_bytes -= frame.nbytes
        for stage in ("preview", "refined"):
            self._drop((frame_id, stage))

    def _put_values(self, frame: Sighting, values: Mapping[str, m.Value]) -> None:
        kept = {
            key: value[:MAX_TEXT] if isinstance(value, str) else value
            for key, value in values.items()
            if key in KEYS
        }
        nbytes = len(m.ENCODER.encode(kept))
        if nbytes > MAX_ROW_BYTES:
            kept, nbytes = {}, 0
            frame.reason = "its row is too large to be shown"
        self._values_bytes += nbytes - frame.nbytes
        frame.values, frame.nbytes = kept, nbytes
        while self._values_bytes > VALUES_BYTES:
            self._forget()

    def _keep(self, frame: Sighting, stage: w.Stage, picture: Any) -> None:
        if not len(picture) or not self.watched:
            return
        if len(picture) > w.MAX_PICTURE_BYTES:
            frame.too_large.add(stage)
            return
        key = (frame.frame_id, stage)
        self._drop(key)
        self._pictures[key] = picture
        self._pictures_bytes += len(picture)
        while self._pictures_bytes > PICTURES_BYTES:
            self._drop(next(iter(self._pictures)))

    def _drop(self, key: tuple[bytes, w.Stage]) -> None:
        self._pictures_bytes -= len(self._pictures.pop(key, b""))

    def alone(self) -> None:
        """Nobody looks on any more."""
        self.watched = False
        self._pictures.clear()
        self._pictures_bytes = 0

    # -- what is shown -----------------------------------------------------------------------

    def picture(self, wanted: w.PictureOf) -> bytes:
        """Empty where it is not here any more."""
        return self._pictures.get((wanted.frame_id, wanted.stage), b"")

    def after(self, change: int) -> Iterator[w.Passed]:
        """Frames that have changed since, the earliest change first."""
        found = []
        for frame in reversed(self._frames.values()):
            if frame.change <= change:
                break
            found.append(frame)
        return map(self._passed, reversed(found))

    def _passed(self, frame: Sighting) -> w.Passed:
        here: dict[w.Stage, int] = {
            stage: len(self._pictures[frame.frame_id, stage])
            for stage in ("preview", "refined")
            if (frame.frame_id, stage) in self._pictures
        }
        return w.Passed(
            change=frame.change,
            number=frame.number,
            frame_id=frame.frame_id,
            state=frame.state,
            reason=frame.reason,
            heard=frame.heard,
            values=frame.values,
            stages=frame.stages,
            symbols=frame.symbols,
            gain=frame.gain,
            pictures=here,
            too_large=sorted(frame.too_large),
        )


def known_of(arrival: m.Arrival, to: str) -> dict[str, m.Value]:
    """What the channel knows of a frame, by the keys of rows; ``tx`` and ``returns`` beside."""
    air, point = arrival.air, arrival.point
    return {
        **heard_of(arrival),
        "tx": air.tx,
        "returns": arrival.returns.upto if arrival.returns else "",
        "receiver": to,
        "image": arrival.label,
        "codec": arrival.codec,
        "cbr": point.bandwidth_ratio,
        "channel": point.channel,
        "snr_db": air.snr_db if point.snr_db is None else point.snr_db,
    }
