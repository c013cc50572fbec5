"""Pictures that come back to tx, as files of its run folder."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from simulator.errors import StorageError
from simulator.link.text import short_name
from simulator.newest import Newest, stem_of
from simulator.settings import TxSettings
from simulator.wholefile import write_whole
from tx.flight import Happened
from tx.link import Listen

FOLDER = "returned"
DIGITS = 8  # of the frame id, in file names


@contextmanager
def listener(settings: TxSettings, folder: Path) -> Iterator[Listen]:
    """Who writes what comes back; nobody where nothing does. Raises ``StorageError``."""
    if settings.returns == "none":
        yield lambda happened: None
        return
    files = ReturnedFiles(folder, settings.return_format, settings.keep)
    try:
        yield files.listen
    finally:
        files.close()


class ReturnedFiles:
    """Writes ``returned/NAME_ID.STAGE.png`` (or .jpeg, .webp) in a thread of its own. ``keep``: as
    for ``Newest``."""

    def __init__(self, folder: Path, suffix: str, keep: int = 0) -> None:
        self._folder, self._suffix = folder / FOLDER, suffix
        self._told: queue.SimpleQueue[Happened | None] = queue.SimpleQueue()
        self._error: StorageError | None = None
        self._thread = threading.Thread(target=self._work, name="returned", daemon=True)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self._folder} cannot be made: {error.strerror}.") from None
        self._newest = Newest(keep, ((stem_of(path), path) for path in self._folder.iterdir()))
        self._thread.start()

    def listen(self, happened: Happened) -> None:
        """Raises ``StorageError`` where an earlier picture could not be written."""
        if self._error is not None:
            raise self._error
        if happened.picture:
            self._told.put(happened)

    def _work(self) -> None:
        while (happened := self._told.get()) is not None:
            stem = short_name(PurePath(happened.name).stem)
            name = f"{stem}_{happened.frame_id.hex()[:DIGITS]}.{happened.stage}.{self._suffix}"
            path = self._folder / name
            with suppress(StorageError):
                try:
                    write_whole(path, happened.picture)
                    self._newest.add(stem_of(path), path)
                except StorageError as error:
                    self._error = error
                    raise

    def close(self) -> None:
        """Raises ``StorageError`` as ``listen`` does."""
        self._told.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
