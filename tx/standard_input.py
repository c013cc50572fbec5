"""Pictures that another program writes into tx's standard input, one after the other."""

from __future__ import annotations

import logging
import os
import select
import sys
from collections.abc import Collection, Iterator

from simulator.errors import ImageError, SettingsError
from simulator.process import POLL_S
from tx.cutter import Cutter
from tx.shot import Shot, Stopped

DESCRIPTOR = 0
READ_BYTES = 1 << 16  # what a pipe holds

log = logging.getLogger("tx")


class StandardInput:
    """PNG and JPEG files without anything between them, until the input ends.

    Raises ``SettingsError`` where nothing can come: from a terminal, or a closed input.
    """

    def __init__(self) -> None:
        # Of a closed one the number may be that of another file by now.
        if sys.stdin is None or os.isatty(DESCRIPTOR):
            what = "closed" if sys.stdin is None else "a terminal"
            raise SettingsError(
                f"standard input is {what}; pipe pictures into it, such as: "
                f"ffmpeg -i FILE -f image2pipe -c:v mjpeg - | diffjscc tx --stdin."
            )

    def shots(self, stopped: Stopped, known: Collection[str]) -> Iterator[Shot]:
        number = len(known)
        for file in self._files(stopped):
            yield Shot(f"stdin-{number:06d}", file)
            number += 1
        if not number and not stopped():
            raise ImageError("standard input has ended and held neither a PNG nor a JPEG.")

    def _files(self, stopped: Stopped) -> Iterator[bytes]:
        cutter = Cutter()
        try:
            while (data := self._read(stopped)) is not None:
                yield from cutter.feed(data)
            # Where tx was stopped, the writer had no chance to end its file.
            if (rest := cutter.rest()) and not stopped():
                yield rest
        except ImageError as error:
            raise ImageError(f"standard input: {error}") from None
        if cutter.left_out:
            log.info("%d bytes of standard input belonged to no picture", cutter.left_out)

    def _read(self, stopped: Stopped) -> bytes | None:
        """What has come; None at the end, and where ``stopped``."""
        try:
            while not stopped():
                if select.select([DESCRIPTOR], [], [], POLL_S)[0]:
                    return os.read(DESCRIPTOR, READ_BYTES) or None
        except OSError as error:
            reason = error.strerror or str(error)
            raise ImageError(f"it cannot be read: {reason}.") from None
        return None
