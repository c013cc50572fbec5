"""The transmitter's protocol logic, without sockets, threads or files.

A frame goes  loading -> asking -> encoding -> sent -> (RESULT stored, CONFIRM) gone.
Whatever is lost on the way, a deadline runs out and tx asks again; symbols are sent again
only when they are granted again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.rows import make_row
from simulator.link.session import Session
from simulator.link.text import readable
from simulator.phy.law import Law
from simulator.phy.laws import Laws, Waveform
from simulator.phy.state import ChannelState
from simulator.process import SILENT_CHANNEL
from tx.flight import Encode, Encoded, Flight, Granted, Load, Loaded, Problem, Refused
from tx.source import Job

Send = Callable[[m.Message, tuple[Any, ...]], bool]


def bounded(label: str) -> str:
    """A label without the first folders, where it has more than 200 characters."""
    while len(label) > 200 and "/" in label:
        label = label.partition("/")[2]
    return label[:200]


class Store(Protocol):
    """What the transmitter needs of its ledger."""

    def finished(self) -> set[bytes]: ...
    def store(self, rows: list[tuple[bytes, str, dict[str, Any]]]) -> None: ...
    def fail(self, frame_id: bytes, reason: str) -> int: ...


class Transmitter:
    """Keeps ``window`` frames in flight until every job is in the ledger."""

    def __init__(
        self,
        jobs: Sequence[Job],
        session: Session,
        ledger: Store,
        codec: str,
        run: str,
        seed: int,
        window: int,
        max_failures: int = c.MAX_FAILURES,
        attach_reference: bool = True,
        wait_receivers: int = 1,
    ) -> None:
        self.pending = deque(jobs)
        self.jobs = {job.frame_id: job for job in jobs}
        self.session = session
        self.ledger = ledger
        self.stored = ledger.finished()  # frames with a row: what may be confirmed
        self.codec, self.run, self.seed = codec, run, seed
        self.window, self.max_failures = window, max_failures
        self.attach_reference = attach_reference
        self.wait_receivers = wait_receivers  # before the first image is loaded; 0 after
        self.flights: dict[bytes, Flight] = {}
        self._laws = Laws(Waveform())  # until WELCOME says which
        self.work: list[Load | Encode] = []
        self.problems: list[Problem] = []  # for the log
        self.refusal = ""  # why the channel has turned a receiver away, until one is there

    @property
    def done(self) -> bool:
        return not self.jobs

    @property
    def waiting_for(self) -> str | None:
        """What keeps every frame here, as a sentence; None when nothing does."""
        welcome = self.session.welcome
        if welcome is None:
            return SILENT_CHANNEL
        if self.wait_receivers:
            what = f"the last one was refused: {self.refusal}" if self.refusal else "start rx"
            return (
                f"{welcome.receivers} of {self.wait_receivers} receivers with codec "
                f"{self.codec} are there; {what}"
            )
        return None

    # -- time ----------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Start frames while the window has room; ask again where a deadline ran out."""
        self.session.tick(now, [])
        if self.wait_receivers:
            # A frame's clock runs from loading: it must not count the start of a receiver.
            if not self.session.welcome or self.session.welcome.receivers < self.wait_receivers:
                return
            self.wait_receivers = 0
        while self.pending and len(self.flights) < self.window:
            job = self.pending.popleft()
            if job.frame_id in self.jobs:
                self.flights[job.frame_id] = Flight(job)
                self.work.append(Load(job))
        if not self.session.welcome:
            return
        for flight in self.flights.values():
            if flight.state in ("asking", "sent") and now >= flight.deadline:
                self._ask(flight, "unanswered", now)

    def _ask(self, flight: Flight, event: str, now: float) -> None:
        """REQUEST, the first time or again, after ``event``. The pause to the next one doubles."""
        assert flight.loaded is not None
        if flight.state != "asking":
            flight.asked_at = now
        flight.take(event)
        if self.session.welcome is None:
            flight.deadline = now
            return
        job = flight.job
        flight.attempts += 1
        flight.deadline = now + flight.patience_s
        flight.patience_s = min(2 * flight.patience_s, c.MAX_TIMEOUT_S)
        self.session.send(
            m.Request(
                frame_id=job.frame_id,
                draw_key=job.draw_key,
                point=job.point,
                k=flight.loaded.k,
                rounds=flight.loaded.rounds,
            ),
            (),
        )

    # -- the worker's answers --------------------------------------------------------------

    def worked(self, event: Loaded | Encoded | Refused, now: float) -> None:
        """What the worker thread has finished."""
        if isinstance(event, Refused):
            self._close(event.job.frame_id, "refused", event.reason)
        elif isinstance(event, Loaded):
            flight = self.flights.get(event.job.frame_id)
            if flight:
                flight.loaded = event
                self._ask(flight, "loaded", now)
        else:
            flight = self.flights.get(event.frame_id)
            if flight and flight.state == "encoding":
                flight.encoded = event
                earlier_s = flight.encode_s if event.grant.number else 0.0
                flight.encode_s = earlier_s + event.encode_s
                self._transmit(flight, now)

    def _transmit(self, flight: Flight, now: float) -> None:
        """FRAME: pilots and symbols, and the reference beside them."""
        loaded, encoded, welcome = flight.loaded, flight.encoded, self.session.welcome
        assert loaded is not None and encoded is not None
        if welcome is None or welcome.settings != encoded.grant.settings:
            flight.encoded = None
            self._ask(flight, "stale", now)
            return
        height, width = loaded.pixels.shape[:2]
        symbols, number = encoded.symbols, encoded.grant.number
        k = len(symbols)
        flight.sent = (*flight.sent[:number], symbols)
        job = flight.job
        pilots = self._law(job).pilot_symbols(k)
        if len(pilots):
            symbols = np.concatenate([pilots, symbols])
        frame = m.Frame(
            frame_id=job.frame_id,
            draw_key=job.draw_key,
            point=job.point,
            k=k,
            pilots=len(pilots),
            codec=self.codec,
            height=height,
            width=width,
            label=bounded(readable(job.label or job.path.name)),
            image_sha256=job.image_sha256,
            settings=encoded.grant.settings,
            number=number,
        )
        first = number == 0
        reference = loaded.pixels.reshape(-1).data if self.attach_reference and first else b""
        header = len(m.encode(frame)[0])
        flight.overhead_bytes = header + (0 if first else flight.overhead_bytes)
        parts = (symbols.view(np.uint8).data, encoded.side if first else b"", reference)
        sent = self.session.send(frame, parts)
        flight.take("encoded")
        flight.sent_at = now
        flight.patience_s = c.REQUEST_TIMEOUT_S
        flight.deadline = now + (c.RESULT_TIMEOUT_S if sent else c.HEARTBEAT_S)

    # -- the channel's answers -------------------------------------------------------------

    def receive(self, message: m.Message, now: float, parts: Sequence[Any] = ()) -> None:
        """One message from the channel. Raises ``Rejected``; ``WireError`` for parts that are
        none of its own."""
        new = self.session.receive(message, now)
        if isinstance(message, m.Welcome) and message.receivers:
            self.refusal = ""
        if new:
            self._new_channel(now)
        elif isinstance(message, m.Grant):
            self._granted(message, parts, now)
        elif isinstance(message, m.Held):
            flight = self.flights.get(message.frame_id)
            if flight and flight.loaded and flight.state in ("asking", "sent"):
                flight.take("held")
                flight.deadline = now + c.RESULT_TIMEOUT_S
        elif isinstance(message, m.Stage):
            flight = self.flights.get(message.frame_id)
            # Without symbols of ours it is about those of an earlier life of this process.
            if flight and flight.encoded and message.stage not in flight.stages:
                flight.stages[message.stage] = (now, message.elapsed_s)
        elif isinstance(message, m.Nack):
            self._refused(message, now)

    def _new_channel(self, now: float) -> None:
        """The channel was started again and knows nothing: ask again for all in flight."""
        for flight in self.flights.values():
            flight.patience_s = c.REQUEST_TIMEOUT_S
            if flight.state in ("asking", "sent"):
                self._ask(flight, "new channel", now)

    def _granted(self, grant: m.Grant, parts: Sequence[Any], now: float) -> None:
        flight = self.flights.get(grant.frame_id)
        if flight is None or flight.loaded is None:
            return
        h, returned = (m.complex_of(part) for part in parts)
        granted = Granted(ChannelState(grant.snr_db, h), grant.settings, grant.number)
        if grant.number:
            # Of the round that was sent last: an older one has been asked for again since.
            if flight.state != "sent" or grant.number != len(flight.sent):
                return
            k = len(flight.sent[-1])
            if len(returned) != sum(self._law(flight.job).received(k)):
                raise m.WireError("bad-payload", f"{len(returned)} symbols came back of {k}")
            flight.returned = (*flight.returned[: grant.number - 1], returned)
            flight.take("next round")
        elif flight.state != "asking":
            return
        else:
            flight.grant_wait_s = now - flight.asked_at
            flight.take("granted")
        flight.deadline = float("inf")
        before = flight.encoded
        if before is not None and before.grant.same_as(granted):
            self._transmit(flight, now)
            return
        rounds = (flight.sent[: grant.number], flight.returned[: grant.number])
        job, pixels = flight.job, flight.loaded.pixels
        self.work.append(Encode(job, pixels, granted, self._law(job), *rounds))

    def _law(self, job: Job) -> Law:
        """Of the frame's kind of channel, as the channel has said last."""
        welcome = self.session.welcome
        if welcome and welcome.waveform != self._laws.waveform:
            self._laws = Laws(welcome.waveform)
        return self._laws.of(job.point.channel)

    def _refused(self, nack: m.Nack, now: float) -> None:
        flight = self.flights.get(nack.frame_id) if nack.frame_id else None
        if nack.code == "receiver-refused":
            self.refusal = nack.reason
        if nack.code != "say-hello":
            self.problems.append(Problem(f"{nack.code}: {nack.reason}", nack.frame_id))
        if flight is None or flight.loaded is None:
            return
        if nack.code in ("unsupported", "receivers-lost"):
            self._close(flight.job.frame_id, "dead", nack.reason)
        elif nack.code in ("failed", "bad-payload", "bad-message"):
            count = self.ledger.fail(flight.job.frame_id, nack.reason)
            if count >= self.max_failures:
                self._close(flight.job.frame_id, "dead", nack.reason)
            else:
                self._ask(flight, "refused", now)
        elif nack.code in ("busy", "quota"):
            flight.deadline = now + flight.patience_s
        elif nack.code in ("no-grant", "stale"):
            self._ask(flight, "refused", now)

    def results(self, results: Sequence[m.Result], now: float) -> None:
        """Store RESULTs in one transaction, **then** CONFIRM each; duplicates, too.

        What has no row here is not confirmed: it belongs to a tx of this name in another run.
        """
        rows = []
        for result in results:
            job = self.jobs.get(result.frame_id)
            if job is not None:
                rows.append((job.frame_id, "delivered", self._row(job, result, now)))
        if rows:
            self.ledger.store(rows)
        for frame_id, _, _ in rows:
            self._forget(frame_id)
        for result in results:
            if result.frame_id in self.stored:
                confirm = m.Confirm(frame_id=result.frame_id, receiver=result.receiver)
                self.session.send(confirm, ())

    def _close(self, frame_id: bytes, status: str, reason: str) -> None:
        """A frame ends without a result: refused at the source, or dead."""
        job = self.jobs.get(frame_id)
        if job is None:
            return
        flight = self.flights.get(frame_id) or Flight(job)
        row = make_row(**self._what(job, flight), status=status, reason=readable(reason))
        self.ledger.store([(frame_id, status, row)])
        self.problems.append(Problem(f"{job.path.name}: {reason}", frame_id))
        self._forget(frame_id)

    def _forget(self, frame_id: bytes) -> None:
        """A frame has its row."""
        self.stored.add(frame_id)
        self.jobs.pop(frame_id, None)
        flight = self.flights.pop(frame_id, None)
        if flight:
            flight.take("stored")

    # -- rows ------------------------------------------------------------------------------

    def _what(self, job: Job, flight: Flight) -> dict[str, Any]:
        what: dict[str, Any] = {
            "run": self.run,
            "frame_id": job.frame_id.hex(),
            "attempts": flight.attempts,
            "image": readable(str(job.path)),
            "repeat": job.repeat,
            "codec": self.codec,
            "cbr": job.point.bandwidth_ratio,
            "channel": job.point.channel,
            "snr_db": job.point.snr_db,
            "seed": self.seed,
        }
        loaded = flight.loaded
        if loaded is not None:
            what |= {
                "height": loaded.pixels.shape[0],
                "width": loaded.pixels.shape[1],
                "notes": loaded.notes,
                "k": sum(map(len, flight.sent)) if flight.sent else loaded.k,
                "load_s": loaded.load_s,
                "tx_at_s": loaded.began_at + self.session.offset.offset_s,
                "tx_clock_error_s": self.session.offset.error_s,
            }
        return what

    def _row(self, job: Job, result: m.Result, now: float) -> dict[str, Any]:
        flight = self.flights.get(job.frame_id) or Flight(job)
        row = make_row()
        row |= {key: value for key, value in result.values.items() if key in row}
        # Last: what tx knows itself is not the receiver's to say.
        what = self._what(job, flight)
        if flight.encoded is None:
            what.pop("k", None)  # the budget; what was sent is told by the receiver alone
        row |= what | {"status": "delivered", "receiver": result.receiver}
        notes = [flight.loaded.notes if flight.loaded else "", result.values.get("notes")]
        row["notes"] = "; ".join(str(note) for note in notes if note)
        loaded, encoded = flight.loaded, flight.encoded
        if loaded is None or encoded is None:
            return row  # sent by an earlier life of this process: its times died with it
        row["grant_wait_s"], row["encode_s"] = flight.grant_wait_s, flight.encode_s
        row["overhead_bytes"] = flight.overhead_bytes
        for stage in ("preview", "refined"):
            if stage in flight.stages:
                arrival, elapsed = flight.stages[stage]
            elif stage in result.stages:
                # STAGE is best effort: its moment is reckoned back from RESULT.
                arrival, elapsed = now - result.stages[stage], float("nan")
            else:
                continue
            row[f"time_to_{stage}_s"] = arrival - loaded.began_at
            if stage == "preview" and elapsed == elapsed:
                inside = elapsed + (row["channel_queue_s"] or 0) + (row["airtime_observed_s"] or 0)
                row["wire_s"] = max(0.0, arrival - flight.sent_at - inside)
        return row
