"""Sources of pictures for tx: a folder that fills, videos or cameras, and standard input.

What a source gives is put into the link one by one (``pump``), in a thread of its own. What is
posted over HTTP comes by a door of its own (``tx.door``).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from simulator.errors import ImageError, SettingsError, path_from
from simulator.images import SUFFIXES
from simulator.link.text import readable
from simulator.settings import TxSettings
from tx.link import Link
from tx.shot import Shot, Stopped
from tx.standard_input import StandardInput
from tx.video import Video

LOOK_S = 0.3  # between two looks at a folder
READY_S = 0.05

log = logging.getLogger("tx")


class Source(Protocol):
    def shots(self, stopped: Stopped, known: Collection[str]) -> Iterator[Shot]:
        """Until there are none any more, or ``stopped``. ``known``: paths that an earlier life of
        this process has sent. Raises ``ImageError``."""


class Following:
    """Images of a folder as they are completed: a file counts when two looks find it unchanged.

    What is there at the start comes first, by name. A file that is written anew is a new picture.
    """

    def __init__(self, folder: Path, fps: float) -> None:
        if not folder.is_dir():
            raise ImageError(f"{folder} is no folder that could be followed; make it first.")
        self._folder, self._fps = folder, fps

    def shots(self, stopped: Stopped, known: Collection[str]) -> Iterator[Shot]:
        return paced(self._completed(stopped, known), self._fps, stopped)

    def _completed(self, stopped: Stopped, known: Collection[str]) -> Iterator[Shot]:
        taken: dict[Path, tuple[int, int]] = {}
        before: dict[Path, tuple[int, int]] = {}
        while not stopped():
            now = dict(self._look())
            for path, state in now.items():
                # Of an earlier life only the name is known.
                if readable(str(path)) in known:
                    taken.setdefault(path, state)
                if taken.get(path) != state and before.get(path) == state:
                    taken[path] = state
                    yield Shot(path.name, path)
            known = ()
            # What is gone is forgotten, so that a folder that is emptied takes no memory.
            taken = {path: state for path, state in taken.items() if path in now}
            before = now
            time.sleep(LOOK_S)

    def _look(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        try:
            paths = sorted(self._folder.iterdir())
        except OSError as error:
            reason = error.strerror or str(error)
            raise ImageError(f"{self._folder} cannot be read any more: {reason}.") from None
        for path in paths:
            if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                continue
            try:
                state = path.stat()
            except OSError:
                continue  # it is gone again
            if state.st_size:
                yield path, (state.st_size, state.st_mtime_ns)


def paced(shots: Iterable[Shot], fps: float, stopped: Stopped) -> Iterator[Shot]:
    """At most ``fps`` a second, and every one; 0: as they come."""
    at = time.monotonic()
    for shot in shots:
        yield shot
        if fps:
            at = max(at + 1 / fps, time.monotonic())
            while (left := at - time.monotonic()) > 0 and not stopped():
                time.sleep(min(left, LOOK_S))


class Piped:
    """Standard input at most ``fps`` pictures a second: its writer waits, or, where only the
    ``latest`` counts, those that come too early are left out."""

    def __init__(self, fps: float, latest: bool) -> None:
        self._input, self._fps, self._latest = StandardInput(), fps, latest

    def shots(self, stopped: Stopped, known: Collection[str]) -> Iterator[Shot]:
        shots = self._input.shots(stopped, known)
        thin = self._latest and self._fps
        return thinned(shots, self._fps) if thin else paced(shots, self._fps, stopped)


def thinned(shots: Iterable[Shot], fps: float) -> Iterator[Shot]:
    """At most ``fps`` a second of the clock; others are left out."""
    next_s = -math.inf
    for shot in shots:
        if (now := time.monotonic()) >= next_s:
            next_s = now + 1 / fps
            yield shot


def source_of(settings: TxSettings) -> Source:
    """What ``tx.source`` names. Raises ``SettingsError``, ``ImageError`` and
    ``MissingPackageError``."""
    kind, _, what = settings.source.partition(":")
    if kind == "follow" and what:
        return Following(path_from(what), settings.fps)
    if kind == "video" and what:
        return Video(what, settings.fps, settings.when_busy == "latest")
    if settings.source == "stdin":
        return Piped(settings.fps, settings.when_busy == "latest")
    raise SettingsError(
        f"tx.source = {settings.source!r}: give follow:FOLDER, video: and a file, an address or a "
        f"device, http:HOST:PORT, or stdin."
    )


def pump(link: Link, shots: Iterable[Shot], settings: TxSettings, stopped: Stopped) -> None:
    """Put what a source gives into the link, until it ends, ``tx.frames`` are reached, or
    ``stopped``. Raises what has ended the source or the link."""
    while not link.ready and not stopped():
        time.sleep(READY_S)  # else the first pictures would wait for a receiver, or be dropped
    count = 0
    for shot in shots:
        try:
            link.send(shot.content, name=shot.name)
        except ImageError as error:  # a file that was taken away again
            log.warning("%s", error)
            continue
        count += 1
        if count == settings.frames or stopped():
            return
