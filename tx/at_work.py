"""Which frame the worker is at, in a file that outlives the process.

A decoder that crashes takes the process with it, and the next life would begin with the same
image. A frame at which tx has died too often is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simulator.errors import StorageError
from simulator.link.ids import FRAME_ID_BYTES

FILE = "tx.at-work"
NOTHING = bytes(FRAME_ID_BYTES)
MAX_DEATHS = 5  # at one frame; fewer may be somebody who kills processes at random


class AtWork:
    """Written in place and never flushed to the disk: it is the process that may die, not the
    machine. Raises ``StorageError`` where the file cannot be opened."""

    def __init__(self, folder: Path) -> None:
        path = folder / FILE
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}.") from None

    def died_at(self) -> bytes | None:
        """The frame that the last life was at when it ended; None where it was at none."""
        found = os.pread(self._file, FRAME_ID_BYTES, 0)
        os.pwrite(self._file, NOTHING, 0)
        return found if len(found) == FRAME_ID_BYTES and found != NOTHING else None

    @contextmanager
    def frame(self, frame_id: bytes) -> Iterator[None]:
        os.pwrite(self._file, frame_id, 0)
        yield
        os.pwrite(self._file, NOTHING, 0)

    def close(self) -> None:
        os.close(self._file)
