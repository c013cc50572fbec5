"""Image files out of one stream of bytes, in which they follow one another.

``ffmpeg -f image2pipe`` and ``cat *.jpg`` write such a stream. Where a file ends is found by its
chunks (PNG, ISO/IEC 15948, 5) or marker segments (JPEG, ITU-T T.81, B.1), so that a thumbnail in
its metadata is no picture of its own. What stands between files is left out, such as the headers
of a multipart stream.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Protocol

from simulator.errors import ImageError
from simulator.images import MAX_FILE_BYTES

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
BEGIN = re.compile(b"|".join(map(re.escape, (PNG, JPEG))))
# In the data of a scan FF stands before 00 (it is data), before RST0 to RST7, or before a marker.
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
SOI, EOI, SOS, TEM, RST = 0xD8, 0xD9, 0xDA, 0x01, range(0xD0, 0xD8)


class Walk(Protocol):
    """Through one file, from its beginning."""

    def end(self, held: bytearray) -> int | None:
        """Where the file that ``held`` begins with ends, or is damaged; None: more is needed."""


class PngWalk:
    def __init__(self) -> None:
        self._at, self._last = len(PNG), False

    def end(self, held: bytearray) -> int | None:
        while not self._last:
            if len(held) < self._at + 8:
                return None
            length, kind = struct.unpack_from(">I4s", held, self._at)
            if not kind.isalpha() or length > MAX_FILE_BYTES:
                return self._at
            self._at += 12 + length
            self._last = kind == b"IEND"
        return self._at if len(held) >= self._at else None


class JpegWalk:
    def __init__(self) -> None:
        self._at, self._scan = 2, False

    def end(self, held: bytearray) -> int | None:
        while True:
            if self._scan:
                found = MARKER.search(held, self._at)
                if found is None:
                    self._at = max(self._at, len(held) - 1)
                    return None
                self._at, self._scan = found.start(), False
            if len(held) < self._at + 4:
                # The last marker has no length behind it.
                ended = held[self._at : self._at + 2] == bytes((0xFF, EOI))
                return self._at + 2 if ended else None
            filled, code, length = struct.unpack_from(">BBH", held, self._at)
            if filled != 0xFF or code in (0x00, SOI):
                return self._at  # damaged, or cut off where the next file begins
            if code == EOI:
                return self._at + 2
            if code == 0xFF:  # a byte that fills up
                self._at += 1
            elif code in RST or code == TEM:
                self._at += 2
            elif length < 2:
                return self._at
            else:
                self._at += 2 + length
                self._scan = code == SOS


class Cutter:
    """Bytes in, files out. ``left_out``: bytes that belong to none.

    A damaged file comes as far as it goes: whoever decodes it says what is wrong. Raises
    ``ImageError`` where a file, or what stands before the next one, has more than ``most`` bytes.
    """

    def __init__(self, most: int = MAX_FILE_BYTES) -> None:
        self._most, self._held = most, bytearray()
        self._walk: Walk | None = None
        self._between = self.left_out = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The files that end in ``data``."""
        self._held += data
        while self._begun():
            assert self._walk is not None
            end = self._walk.end(self._held)
            if end is None:
                if len(self._held) > self._most:
                    raise ImageError(f"a picture has more than {self._most} bytes.")
                return
            yield self._cut(end)

    def rest(self) -> bytes:
        """At the end of the stream: the file that it has cut off; empty where there is none."""
        if self._walk is None:
            self.left_out += len(self._held)
            return b""
        return self._cut(len(self._held))

    def _cut(self, end: int) -> bytes:
        file = bytes(self._held[:end])
        del self._held[:end]
        self._walk = None
        return file

    def _begun(self) -> bool:
        """Whether ``_held`` begins with a file; leaves out what stands before it."""
        if self._walk is not None:
            return True
        found = BEGIN.search(self._held)
        before = found.start() if found else max(0, len(self._held) - len(PNG) + 1)
        self.left_out += before
        self._between += before
        if self._between > self._most:
            raise ImageError(f"no PNG or JPEG begins within {self._most} bytes.")
        if found:
            self._walk = PngWalk() if found.group() == PNG else JpegWalk()
            self._between = 0
        del self._held[:before]
        return found is not None
