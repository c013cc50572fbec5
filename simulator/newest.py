"""Files of the newest frames: those of older ones are deleted."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


class Newest:
    """Keeps the files of the ``keep`` frames that came last; 0: of all.

    ``before``: frames and files of earlier lives of a process, which count as older, by the time
    of the files. One file may belong to several frames.
    """

    def __init__(self, keep: int, before: Iterable[tuple[str, Path]] = ()) -> None:
        self._keep = keep
        self._frames: OrderedDict[str, set[Path]] = OrderedDict()
        self._owners: Counter[Path] = Counter()
        if keep:
            for frame, path in sorted(before, key=lambda pair: pair[1].stat().st_mtime_ns):
                self.add(frame, path)

    def add(self, frame: str, path: Path) -> None:
        """A file of a frame, which is the newest from now on."""
        if not self._keep:
            return
        files = self._frames.setdefault(frame, set())
        self._frames.move_to_end(frame)
        if path not in files:
            files.add(path)
            self._owners[path] += 1
        while len(self._frames) > self._keep:
            for old in self._frames.popitem(last=False)[1]:
                self._owners[old] -= 1
                if not self._owners[old]:
                    del self._owners[old]
                    with suppress(OSError):  # a person may have been first
                        old.unlink()


def stem_of(path: Path) -> str:
    """What the pictures of one frame share: ``NAME_ID`` of ``NAME_ID.refined.png``."""
    return path.name.rsplit(".", 2)[0]
