"""What a page is about: run folders, or a channel that runs."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from simulator.link.rows import Row
from simulator.report.watch import LivePage

STAGES = ("sent", "preview", "refined")


@dataclass(frozen=True)
class Frame:
    """A frame as it is now. ``seq`` grows with every change of any frame; ``number``: 1 for the
    first that was seen; ``pictures``: the stages that there may be one of; ``absent``: why there
    is none, where that is known."""

    seq: int
    number: int
    key: str
    row: Row
    pictures: Sequence[str]
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """``counts``: frames by status; ``total``: that were asked for, None where nobody knows;
    ``waiting``: that tx has taken and that have no row; ``says``: what each process said last;
    ``trouble``: why nothing is heard, as a clause."""

    counts: dict[str, int]
    total: int | None
    waiting: int
    finished: bool
    says: dict[str, str]
    trouble: str = ""


class Source(Protocol):
    """For several threads. ``report``: the whole report; None where there is none."""

    title: str
    report: LivePage | None

    def look(self) -> None:
        """Find out what is new. It may take a second."""
        ...

    @property
    def state(self) -> State: ...

    def after(self, seq: int) -> list[Frame]:
        """Those kept frames that have changed since."""
        ...

    def picture(self, key: str, stage: str, side: int) -> bytes | None:
        """WebP, ``side`` pixels at most; None where it is not here."""
        ...

    def symbols(self, key: str) -> dict[str, Any] | None:
        """Of a frame that is kept: clouds of points, levels, words; or ``why`` there are none."""
        ...

    def close(self) -> None: ...


class Known:
    """Frames and a state, for several threads: whoever changes them holds the lock."""

    def __init__(self, state: State) -> None:
        self._lock = threading.Lock()
        self._state = state

    def _kept(self) -> Iterable[Frame]:
        """The frames that can be shown now."""
        raise NotImplementedError

    @property
    def state(self) -> State:
        with self._lock:
            return self._state

    def after(self, seq: int) -> list[Frame]:
        """The frames that are kept and have changed since ``seq``, the last change last."""
        with self._lock:
            found = [frame for frame in self._kept() if frame.seq > seq]
        return sorted(found, key=lambda frame: frame.seq)
