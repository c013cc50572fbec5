"""The report of a run that goes on: made of what the ledger holds now, and a word that changes with
the folder, so that the page knows when to load itself again."""

from __future__ import annotations

import threading
from pathlib import Path

from simulator.errors import DiffJsccError
from simulator.link.clock import Clock, monotonic
from simulator.report.html import page
from simulator.report.markup import element
from simulator.report.sources import LEDGER, SWEEP, read_sources
from simulator.report.strips import Pictures
from simulator.rowfile import RESULTS, SUMMARY

PAUSE_S = 3.0  # between two makings of the page
IMAGES = 4


class LivePage:
    """The page of some folders, made again when they have changed, but not all the time."""

    def __init__(self, folders: list[Path], clock: Clock = monotonic) -> None:
        self._folders, self._clock = folders, clock
        self._lock = threading.Lock()
        self._pictures = Pictures()
        self._made_at, self._version, self._page = -PAUSE_S, "", ""

    def version(self) -> str:
        """Changes when a file that rows come from does."""
        names = (LEDGER, f"{LEDGER}-wal", RESULTS, SUMMARY, SWEEP)
        paths = [folder / name for folder in self._folders for name in names]
        for folder in self._folders:
            if not (folder / SUMMARY).is_file():
                paths += sorted(folder.glob("logs/*.log"))  # all there is before the first row
        found = []
        for path in paths:
            try:
                state = path.stat()
            except OSError:
                continue
            found.append(f"{state.st_mtime_ns:x}.{state.st_size:x}")
        return "-".join(found) or "empty"

    def page(self) -> str:
        """A folder that cannot be read, which may be on its way, is named on the page."""
        with self._lock:
            version, now = self.version(), self._clock()
            if version != self._version and now - self._made_at >= PAUSE_S:
                try:
                    sources = read_sources(self._folders)
                    self._page = page(sources, IMAGES, live=version, shown=self._pictures)
                    self._version = version
                except DiffJsccError as error:
                    self._page = f"<!doctype html>{element('p', str(error))}"
                self._made_at = self._clock()
            return self._page
