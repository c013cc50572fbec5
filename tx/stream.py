"""Where the frames of tx come from: a manifest, or a stream that others fill while tx runs.

client, folder, camera -> Stream.put -> (tx's socket thread) take -> ledger -> transmitter
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from msgspec.structs import replace

from simulator.images import Picture, Pixels
from simulator.link.clock import monotonic
from simulator.link.ids import draw_key, frame_id
from simulator.link.messages import WirePoint
from tx.source import Job


class Feed(Protocol):
    """The transmitter asks it for frames, from its socket thread."""

    @property
    def total(self) -> int | None:
        """Frames that there will be; None where nobody knows."""

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""

    def begin(self, number: int, wake: Callable[[], None]) -> None:
        """``number``: of the next frame; ``wake``: what makes the transmitter ask."""

    def take(self, room: int) -> Iterable[Job]:
        """New frames; of a stream ``room`` at most."""


class Manifest:
    """All frames of a run, known before the first is sent."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs, self.total = jobs, len(jobs)

    @property
    def ended(self) -> bool:
        return not self._jobs

    @property
    def places(self) -> dict[bytes, int]:
        """Of the frames that have not been taken, by their ids."""
        return {job.frame_id: index for index, job in enumerate(self._jobs)}

    def begin(self, number: int, wake: Callable[[], None]) -> None:
        """Its frames have their numbers."""

    def take(self, room: int) -> Iterable[Job]:
        jobs, self._jobs = self._jobs, ()
        return jobs


def sha256_of(pixels: Pixels) -> bytes:
    """Of the size and the values of an array."""
    size = np.array(pixels.shape[:2], "<u4").tobytes()
    return hashlib.sha256(size + pixels.tobytes()).digest()


class StreamClosed(Exception):
    """Nothing more can be put into this stream."""


class Stream:
    """Frames from other threads, numbered as they come.

    A number takes the place of ``repeat``: two equal pictures are two frames, with noise of their
    own. ``name``: of the source, which is part of frame ids.
    """

    total = None

    def __init__(self, name: str, run: str, seed: int) -> None:
        self._name, self._run, self._seed = name, run, seed
        self._number = 0
        self._wake: Callable[[], None] = lambda: None
        self._offered: deque[Job] = deque()
        self._taken: Job | None = None
        self._changed = threading.Condition()
        self._closed = self._abandoned = False

    def begin(self, number: int, wake: Callable[[], None]) -> None:
        self._number, self._wake = number, wake

    def put(
        self,
        content: Picture | Pixels | bytes | Path,
        sha256: bytes,
        point: WirePoint,
        name: str = "",
        timeout: float | None = None,
        made: Callable[[Job], None] = lambda job: None,
    ) -> Job:
        """Wait until the transmitter has taken it: from then on its ledger keeps it.

        ``content``: the name of a file, its bytes, what it holds, or (H, W, 3) uint8 RGB.
        ``made``: is called with the frame before anything happens to it. Raises ``TimeoutError``,
        and then the frame is not sent; ``StreamClosed``.
        """
        with self._changed:
            if self._closed:
                raise StreamClosed
            job = self._job(content, sha256, point, name)
            made(job)
            self._offered.append(job)
            self._wake()
            deadline = None if timeout is None else monotonic() + timeout
            while job in self._offered:
                left = None if deadline is None else deadline - monotonic()
                if job is self._taken:
                    left = None  # it is on its way into the ledger
                if left is not None and left <= 0:
                    self._offered.remove(job)
                    raise TimeoutError
                self._changed.wait(left)
            if self._abandoned:
                raise StreamClosed
            return job

    def _job(
        self,
        content: Picture | Pixels | bytes | Path,
        sha256: bytes,
        point: WirePoint,
        name: str,
    ) -> Job:
        number, self._number = self._number, self._number + 1
        path = content if isinstance(content, Path) else Path(name or f"{number:06d}")
        if point.snr_db is None:
            point = replace(point, trace_index=number)
        picture = content if isinstance(content, Picture) else None
        pixels = picture.pixels if picture else content
        return Job(
            frame_id=frame_id(self._run, f"{self._name}/{point.name}", sha256, number),
            draw_key=draw_key(self._seed, sha256, number),
            path=path,
            image_sha256=sha256,
            repeat=number,
            point=point,
            label=name or path.name,
            pixels=pixels if isinstance(pixels, np.ndarray) else None,
            file=content if isinstance(content, bytes) else None,
            notes=picture.notes if picture else (),
        )

    def take(self, room: int) -> Iterable[Job]:
        """Whoever has put a frame goes on when the next is asked for: it is in the ledger then."""
        for _ in range(room):
            with self._changed:
                if not self._offered:
                    return
                self._taken = self._offered[0]
            yield self._taken
            with self._changed:
                self._taken = None
                self._offered.popleft()
                self._changed.notify_all()

    def close(self) -> None:
        """What was put in is sent; nothing more is taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._wake()

    def abandon(self) -> None:
        """The transmitter has ended: what it has not taken is not sent."""
        with self._changed:
            self._closed = self._abandoned = True
            self._offered.clear()
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        with self._changed:
            return self._closed and not self._offered
