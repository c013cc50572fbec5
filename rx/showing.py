"""The frame that is being denoised, in pictures of the run folder (``rx.show_steps``)."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from simulator.denoising import FOLDER, About, path_of, write
from simulator.errors import StorageError
from simulator.link.messages import Arrival

log = logging.getLogger("rx")


class Showing:
    """Writes two files, again and again: a picture that cannot be written is left out, and no frame
    fails for it. Raises ``StorageError`` where their folder cannot be made."""

    def __init__(self, folder: Path, receiver: str) -> None:
        self._receiver = receiver
        self._preview, self._step = (path_of(folder, receiver, s) for s in ("preview", "step"))
        self._about: About | None = None
        self._warned = False
        try:
            (folder / FOLDER).mkdir(parents=True, exist_ok=True)
            for path in (self._preview, self._step):
                path.unlink(missing_ok=True)  # of a life before this one
        except OSError as error:
            raise StorageError(f"{folder / FOLDER} cannot be made: {error.strerror}.") from None

    def begin(self, frame: Arrival, preview: np.ndarray) -> None:
        """A frame, and the image that is denoised: (H, W, 3) uint8."""
        self._about = About(
            frame_id=frame.frame_id.hex(),
            image=frame.label,
            receiver=self._receiver,
            height=frame.height,
            width=frame.width,
            step=0,
            steps=1,  # they are known when the first one is done
        )
        self._write(self._preview, preview, self._about)

    def step(self, step: int, of: int, pixels: np.ndarray) -> None:
        """What it has become."""
        assert self._about is not None
        self._about = replace(self._about, step=step, steps=of)
        self._write(self._step, pixels, self._about)

    def end(self, pixels: np.ndarray) -> None:
        """The refined image."""
        assert self._about is not None
        steps = self._about.steps
        self._write(self._step, pixels, replace(self._about, step=steps))

    def _write(self, path: Path, pixels: np.ndarray, about: About) -> None:
        try:
            write(path, pixels, about)
        except StorageError as error:
            if not self._warned:
                self._warned = True
                log.warning("steps are not shown: %s", error)
