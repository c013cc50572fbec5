"""Whose keys open which door now: the channel's key folder, read again when it changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from simulator.link.keyfolder import DOORS, admitted
from simulator.link.keys import KeyFileError, PublicKey, Role

Signature = tuple[tuple[str, int, int, int], ...]


def signature(folder: Path) -> Signature | None:
    """What changes whenever a file there is added, removed or replaced; None: unreadable."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    except OSError:
        return None
    return tuple(sorted((name, s.st_ino, s.st_ctime_ns, s.st_size) for name, s in found))


def modification(folder: Path) -> int:
    """When a file there was added or removed, in ns; 0: unreadable."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


class Admission:
    """A snapshot of the admitted keys. What cannot be read admits nobody."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._seen: dict[Role, Signature | None] = {}
        self._modified: dict[Role, int] = {}
        self._keys: dict[Role, dict[str, PublicKey]] = {door: {} for door in DOORS}
        self.refresh()

    def refresh(self, thorough: bool = True) -> bool:
        """Read what has changed; True where something had.

        Not ``thorough``: only if a file came, went or was renamed. That is what ``diffjscc keys``
        does, and cheap enough to be asked at each handshake of a stranger.
        """
        changed = False
        for door in DOORS:
            folder = self._folder / door
            modified = modification(folder)
            if not thorough and modified == self._modified[door]:
                continue
            # Both taken before reading: a change in between is seen by the next look.
            self._modified[door] = modified
            now = signature(folder)
            if door in self._seen and now == self._seen[door]:
                continue
            self._seen[door] = now
            self._keys[door] = self._read(door)
            changed = True
        return changed

    def _read(self, door: Role) -> dict[str, PublicKey]:
        keys: dict[str, PublicKey] = {}
        try:
            for key in admitted(self._folder, door):
                if isinstance(key, KeyFileError):
                    self._say(f"not admitted: {key}")
                else:
                    keys.setdefault(key.public, key)
        except KeyFileError as error:
            self._say(f"nobody is admitted as {door}: {error}")
            return {}
        return keys

    def holder(self, door: Role, public: str) -> PublicKey | None:
        """Who holds that key, if it opens that door now."""
        return self._keys[door].get(public)

    def count(self, door: Role) -> int:
        return len(self._keys[door])
