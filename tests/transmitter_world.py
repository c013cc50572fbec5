"""A transmitter under a virtual clock, and what its channel, ledger and worker say to it."""

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.session import Session
from simulator.phy.laws import Waveform
from tx.flight import Encode, Encoded, Load, Loaded
from tx.source import Job
from tx.transmitter import Transmitter

K = 8
POINT = m.WirePoint(channel="rayleigh", snr_db=10.0, bandwidth_ratio="1/384")


def frame_id(i: int) -> bytes:
    return hashlib.sha256(b"id%d" % i).digest()[:16]


def job(i: int, path: str = "") -> Job:
    digest = hashlib.sha256(b"%d" % i).digest()
    return Job(frame_id(i), digest, Path(path or f"photo{i}.png"), digest, 0, POINT)


def welcome(epoch: str = "one", settings: str = "air", **fields: Any) -> m.Welcome:
    base = {"epoch": epoch, "settings": settings, "waveform": Waveform(), "receivers": 1}
    base |= {"symbol_rate_hz": 1e6, "guard_s": 0.0}
    return m.Welcome(**(base | fields))


class Granting(NamedTuple):
    """A GRANT and its binary parts."""

    message: m.Grant
    parts: tuple[bytes, bytes]


def grant(
    i: int,
    h: complex = 1 + 0.5j,
    settings: str = "air",
    number: int = 0,
    returned: np.ndarray | None = None,
) -> Granting:
    message = m.Grant(frame_id=frame_id(i), snr_db=10.0, settings=settings, number=number)
    came = b"" if returned is None else returned.astype("<c8").tobytes()
    return Granting(message, (np.array([h], "<c8").tobytes(), came))


def result(i: int, stages: dict[str, float] | None = None, **values: Any) -> m.Result:
    fields = {"frame_id": frame_id(i), "tx": "tx", "receiver": "rx1", "settings": "s"}
    return m.Result(**fields, values=values, stages=stages or {})


def nack(i: int, code: str, reason: str = "because") -> m.Nack:
    return m.Nack(code=code, reason=reason, frame_id=frame_id(i))


def symbols(k: int = K) -> np.ndarray:
    return np.ones(k, np.complex64)


class Bench:
    """A transmitter with its channel, ledger and worker played by the test.

    ``calls`` is what it did to channel and ledger, in that order; ``sent`` takes the messages
    that were sent since it was asked last.
    """

    def __init__(self, jobs: Sequence[Job], finished: set[bytes] | None = None, **options: Any):
        self.calls: list[tuple[str, Any]] = []
        self.rows: dict[bytes, dict[str, Any]] = {fid: {} for fid in finished or ()}
        self.failures: dict[bytes, int] = {}
        self.reachable = True
        self.now = 100.0
        self.parts: tuple[Any, ...] = ()
        self.k, self.rounds, self.side = K, 1, b""
        self.ks: dict[Fraction, int] = {}
        hello = m.Hello(
            version=c.VERSION, role="tx", name="tx", run="run", settings="s", codec="codec"
        )
        given = {"codec": "codec", "run": "run", "seed": 7, "window": 1} | options
        self.tx = self.made(jobs, Session(hello, self.send), given)

    def made(self, jobs: Sequence[Job], session: Session, given: dict[str, Any]) -> Transmitter:
        return Transmitter(jobs, session, self, **given)

    def send(self, message: m.Message, parts: tuple[Any, ...]) -> bool:
        if isinstance(message, m.Frame):
            self.parts = tuple(bytes(part) for part in parts)
            m.decode(m.encode(message, self.parts))
        self.calls.append((message.kind, message))
        return self.reachable

    def has(self, fid: bytes) -> bool:
        return fid in self.rows

    def store(self, rows: list[tuple[bytes, str, dict[str, Any]]]) -> None:
        self.calls.append(("store", [fid for fid, _, _ in rows]))
        for fid, status, row in rows:
            assert row["status"] == status
            self.rows.setdefault(fid, row)

    def fail(self, fid: bytes, reason: str) -> int:
        self.failures[fid] = self.failures.get(fid, 0) + 1
        return self.failures[fid]

    def sent(self, *but: str) -> list[str]:
        kinds = [kind for kind, _ in self.calls if kind not in ("HELLO", "HEARTBEAT", *but)]
        self.calls.clear()
        return kinds

    def tick(self, seconds: float = 0.0) -> None:
        """Time passes; the channel stays alive."""
        end = self.now + seconds
        while True:
            beat = m.Heartbeat(times=[], epoch=self.tx.session.epoch)
            self.tx.receive(beat, self.now)
            self.tx.tick(self.now)
            if self.now >= end:
                return
            self.now = min(end, self.now + 0.125)

    def receive(self, message: m.Message | Granting) -> None:
        if isinstance(message, Granting):
            raw = m.decode(m.encode(message.message, message.parts))
            self.tx.receive(raw[0], self.now, raw[1])
        else:
            self.tx.receive(message, self.now)

    def results(self, *results: m.Result, pictures: tuple[bytes, bytes] = (b"", b"")) -> None:
        self.tx.results([(each, pictures) for each in results], self.now)

    def work(self) -> list[Load | Encode]:
        work, self.tx.work = self.tx.work, []
        return work

    def load(self, load_s: float = 0.0) -> None:
        """The worker reads what it was given."""
        for task in self.work():
            assert isinstance(task, Load)
            pixels = np.zeros((2, 3, 3), np.uint8)
            loaded = Loaded(
                task.job, pixels, "a note", self.k, self.rounds, self.now, load_s, self.ks
            )
            self.now += load_s
            self.tx.worked(loaded, self.now)

    def encode(self, encode_s: float = 0.0) -> None:
        for task in self.work():
            assert isinstance(task, Encode)
            self.now += encode_s
            made = Encoded(task.job.frame_id, task.grant, symbols(), self.side, encode_s)
            self.tx.worked(made, self.now)

    def asking(self) -> "Bench":
        """Welcomed, loaded, REQUEST sent."""
        self.receive(welcome())
        self.tick()
        self.load()
        assert set(self.sent()) == {"REQUEST"}
        return self

    def on_air(self) -> "Bench":
        """The FRAME is sent."""
        self.asking()
        for fid in self.tx.flights:
            message, parts = grant(0)
            self.receive(Granting(replace(message, frame_id=fid), parts))
        self.encode()
        assert set(self.sent()) == {"FRAME"}
        return self

    @property
    def row(self) -> dict[str, Any]:
        return self.rows[frame_id(0)]


def times_of_requests(bench: Bench, seconds: float) -> list[float]:
    """When tx asks, in seconds from now."""
    start, found = bench.now, []
    while bench.now < start + seconds:
        bench.now += 0.125
        bench.tick()
        found += [bench.now - start for kind in bench.sent() if kind == "REQUEST"]
    return found
