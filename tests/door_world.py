"""A door before a link that does as the test says, and clients of it."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from helpers import photograph
from PIL import Image

from simulator.children import free_ports
from simulator.images import Picture, Pixels
from simulator.link.messages import WirePoint
from tx.door import Door
from tx.flight import Happened
from tx.sent import Sent, Upto
from tx.source import Job


def png(seed: int = 0, size: tuple[int, int] = (48, 64)) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photograph(seed, size)).save(file, "PNG")
    return file.getvalue()


class FakeLink:
    """``room``: what it takes of frames, one release each; ``error``: what it says in place."""

    def __init__(self, upto: Upto = "refined", room: int = 1000) -> None:
        self.upto, self.waiting_for = upto, None
        self.sent: list[Sent] = []
        self.asked: list[tuple[Pixels, float | None, str, str]] = []
        self.room = threading.Semaphore(room)
        self.offered: list[float] = []  # how long each was to wait, in seconds
        self.error: Exception | None = None

    def send(
        self, image: Picture, snr_db: float | None, cbr: str, name: str, timeout: float | None
    ) -> Sent:
        self.offered.append(float("inf") if timeout is None else timeout)
        if self.error:
            raise self.error
        if not self.room.acquire(timeout=timeout):
            raise TimeoutError
        number = len(self.sent)
        job = Job(
            number.to_bytes(16, "big"), bytes(32), Path(name or "x"), bytes(32), number,
            WirePoint(channel="awgn", snr_db=10.0, bandwidth_ratio="1/96"), name or f"{number:06d}",
            image.pixels,
        )  # fmt: skip
        self.asked.append((image.pixels, snr_db, cbr, name))
        self.sent.append(Sent(job, self.upto, self.why))
        return self.sent[-1]

    def why(self) -> str:
        return ""

    def picture(self, number: int, stage: Any, file: bytes) -> None:
        sent = self.sent[number]
        sent.heard(Happened(sent.key, sent.name, stage, file))

    def row(self, number: int, status: str = "delivered", **row: Any) -> None:
        sent = self.sent[number]
        row |= {"status": status, "frame_id": sent.frame_id, "reason": "because", "model": "m"}
        sent.heard(Happened(sent.key, sent.name, "row", row=row))


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """One sentence."""
        said: str = self.json["error"]
        assert said.endswith(".") and "\n" not in said and "Traceback" not in said
        return said


class World:
    def __init__(self, link: Any, host: str = "127.0.0.1", **given: Any) -> None:
        self.link = link
        self.port = free_ports(1)[0]
        self.door = Door(link, f"{host}:{self.port}", **given)
        self.door.start()
        self._pool = ThreadPoolExecutor(16)

    def ask(
        self,
        target: str = "/frame",
        body: Any = None,
        method: str = "POST",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            chunked = body is not None and not isinstance(body, bytes)
            connection.request(method, target, body, headers or {}, encode_chunked=chunked)
            answer = connection.getresponse()
            found = {key.lower(): value for key, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def later(self, *arguments: Any, **given: Any) -> Any:
        """A future of ``ask``."""
        return self._pool.submit(self.ask, *arguments, **given)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("/", method="GET").json
        return found

    def connect(self, first: bytes = b"") -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        made.sendall(first)
        return made

    def close(self) -> None:
        self.door.close()
        self._pool.shutdown()


@contextmanager
def world(link: Any = None, **given: Any) -> Iterator[World]:
    made = World(link or FakeLink(), **given)
    try:
        yield made
    finally:
        made.close()


def everything(connection: socket.socket) -> bytes:
    """Until the other side closes."""
    found = b""
    with connection:
        while data := connection.recv(65536):
            found += data
    return found


def same(a: Pixels, b: Pixels) -> bool:
    return bool(np.array_equal(a, b))
