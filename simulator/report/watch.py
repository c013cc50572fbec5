"""``diffjscc watch RUN``: the report of a run that goes on, served to this machine alone.

browser -GET /-> page made of what the ledger holds now
browser -GET /version-> a word that changes with the folder; then the page loads itself again
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from simulator.errors import AddressError, DiffJsccError
from simulator.link.clock import Clock, monotonic
from simulator.report.html import page
from simulator.report.markup import element
from simulator.report.sources import LEDGER, SWEEP, read_sources
from simulator.report.strips import Pictures
from simulator.rowfile import RESULTS, SUMMARY

PAUSE_S = 3.0  # between two makings of the page
IMAGES = 4
LOOPBACK = "127.0.0.1"


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


def make_server(live: LivePage, port: int) -> ThreadingHTTPServer:
    """Bound to the loopback address; port 0 takes a free one. Raises ``AddressError``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rpartition(":")[0]
            answers = {"/": live.page, "/version": live.version}
            # A page of another site must not read this one by a name that leads here.
            if host not in (LOOPBACK, "localhost") or self.path not in answers:
                self.send_error(404)
                return
            body = answers[self.path]().encode("utf-8", "backslashreplace")
            kind = "text/html" if self.path == "/" else "text/plain"
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are not news."""

    try:
        return ThreadingHTTPServer((LOOPBACK, port), Handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AddressError(f"port {port} cannot be used: {reason}; take another one.") from None


def watch(folders: list[Path], port: int) -> ThreadingHTTPServer:
    """A server for folders that can be read now. Raises ``DiffJsccError`` where one cannot."""
    read_sources(folders)
    return make_server(LivePage(folders), port)
