"""Live pages, what they are asked, and runs that go on."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from simulator.link.ledger import TxLedger
from simulator.watch.folders import RunFolders
from simulator.watch.serving import Watch
from simulator.watch.source import Source


@contextmanager
def watching(folders: list[Path], address: str = "127.0.0.1:0", token: str = "") -> Iterator[Watch]:
    with serving_it(RunFolders(folders), address, token) as page:
        yield page


@contextmanager
def serving_it(source: Source, address: str = "127.0.0.1:0", token: str = "") -> Iterator[Watch]:
    with Watch(source, address, token) as page:
        thread = Thread(target=page.serve)
        thread.start()
        try:
            yield page
        finally:
            while OPEN:
                OPEN.pop().close()
            page.end()
            thread.join()


OPEN: list[http.client.HTTPConnection] = []


class Answer:
    def __init__(self, page: Watch, path: str, **headers: str) -> None:
        host, _, port = page.url.removeprefix("http://").rstrip("/").rpartition(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=30)
        OPEN.append(self.connection)
        self.connection.request("GET", path, headers=headers)
        self.answer = self.connection.getresponse()
        self.status, self.headers = self.answer.status, self.answer.headers

    @property
    def body(self) -> bytes:
        return self.answer.read()

    def event(self) -> tuple[str, dict[str, Any]]:
        """The next one: its id and what it says."""
        event = ""
        while True:
            line = self.answer.readline().decode().rstrip("\n")
            if line.startswith("id: "):
                event = line[4:]
            elif line.startswith("data: "):
                told: dict[str, Any] = json.loads(line[6:])
                return event, told

    def until(self, wanted: Any) -> dict[str, Any]:
        """The first event of which ``wanted`` is true; a run that does not get there ends in the
        time limit of the connection."""
        while True:
            told = self.event()[1]
            if wanted(told):
                return told


def begun(folder: Path) -> TxLedger:
    """A run that goes on: a folder with a ledger, and no results yet."""
    folder.mkdir()
    (folder / "run.toml").write_text('run = "made"\n')
    return TxLedger(folder / "tx.db")


def store(ledger: TxLedger, *rows: dict[str, Any]) -> None:
    ledger.store([(bytes.fromhex(row["frame_id"]), row["status"], row) for row in rows])
