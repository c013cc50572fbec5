"""Frames of a video file, a network stream or a camera, by PyAV (FFmpeg)."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from pathlib import PurePath
from typing import Any

import numpy as np

from simulator.errors import ImageError, missing_package, path_from
from simulator.link.text import readable
from tx.shot import Shot, Stopped

PAUSE_S = 1.0  # before a stream that broke is opened again

log = logging.getLogger("tx")


class Video:
    """``what``: a file, an address such as rtsp://HOST/PATH, or a device such as /dev/video0.

    Of a file every frame counts; with ``fps`` as many a second of its own time. In ``live`` time
    it is played as a camera would see it. Others come as they come, with ``fps`` as many a second
    of the clock, and are opened again when they break. Frames between are decoded and left out: a
    stream that nobody reads falls behind.
    """

    def __init__(self, what: str, fps: float, live: bool) -> None:
        try:
            import av
        except ImportError:
            raise missing_package("video", "av", "video") from None
        self._av, self._open_video = av, av.open
        self._address = "://" in what or what.startswith("/dev/")
        self._what = what if self._address else str(path_from(what))
        self._fps, self._live = fps, live
        self._name = readable(PurePath(what).stem) or "video"
        self._open().close()  # what cannot be opened at all is said before anything is sent

    def _open(self) -> Any:
        kind = "v4l2" if self._what.startswith("/dev/") else None
        try:
            container = self._open_video(self._what, format=kind, timeout=10.0)
        except (self._av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ImageError(f"{self._what} cannot be opened as video: {reason}.") from None
        if not container.streams.video:
            container.close()
            raise ImageError(f"{self._what} has no video in it.")
        return container

    def shots(self, stopped: Stopped, known: Collection[str]) -> Iterator[Shot]:
        # A file goes on behind what was sent of it; of a camera that was, only numbers go on.
        number, said = len(known) if self._address else 0, False
        while not stopped():
            try:
                for pixels in self._frames(stopped):
                    name = f"{self._name}-{number:06d}"
                    number, said = number + 1, False
                    if name not in known:
                        yield Shot(name, pixels)
            except ImageError as error:
                if not self._address:
                    raise
                if not said:  # a camera that is away for long is told once
                    log.warning("%s It is tried again until it is there.", error)
                said = True
            if not self._address:
                return
            time.sleep(PAUSE_S)

    def _frames(self, stopped: Stopped) -> Iterator[np.ndarray]:
        container = self._open()
        began, next_s = time.monotonic(), -np.inf
        try:
            for frame in container.decode(video=0):
                if stopped():
                    return
                # Where the clock of a file is broken, its frames come as they come.
                at = time.monotonic() if self._address else frame.time or 0.0
                if at < next_s:
                    continue
                if self._fps:
                    next_s = at + 1 / self._fps - 1e-6
                if not self._address:
                    self._wait(began + at, stopped)
                yield frame.to_ndarray(format="rgb24")
        except self._av.FFmpegError as error:
            if self._address:
                return
            raise ImageError(f"{self._what} is damaged: {error.strerror or error}.") from None
        finally:
            container.close()

    def _wait(self, until: float, stopped: Stopped) -> None:
        while self._live and (left := until - time.monotonic()) > 0 and not stopped():
            time.sleep(min(left, 0.2))
