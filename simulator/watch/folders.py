"""Run folders, as a page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simulator.report.sources import read_folder
from simulator.report.watch import LivePage
from simulator.watch.frames import Frames
from simulator.watch.pictures import Pictures
from simulator.watch.source import Frame, State
from simulator.watch.symbols import Symbols


class RunFolders:
    """Raises ``SettingsError`` and ``StorageError`` for folders that cannot be read."""

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            read_folder(folder, rows=())
        self.title = ", ".join(dict.fromkeys(folder.resolve().name for folder in folders))
        self.report: LivePage | None = LivePage(list(folders))
        self._frames, self._pictures = Frames(folders), Pictures()
        self._symbols = Symbols(folders)

    def look(self) -> None:
        self._frames.look()

    @property
    def state(self) -> State:
        return self._frames.state

    def after(self, seq: int) -> list[Frame]:
        return self._frames.after(seq)

    def picture(self, key: str, stage: str, side: int) -> bytes | None:
        path = self._frames.file(key, stage)
        return self._pictures.get(path, side) if path else None

    def symbols(self, key: str) -> dict[str, Any] | None:
        row = self._frames.row(key)
        if row is None:
            return None
        return self._symbols.of(row, sum(self._frames.state.counts.values()))

    def close(self) -> None:
        """Nothing is held open."""
