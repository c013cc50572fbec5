"""The transmitter's protocol logic, without sockets, threads or files.

A frame goes  loading -> asking -> encoding -> sent -> (RESULT stored, CONFIRM) gone.
Whatever is lost on the way, a deadline runs out and tx asks again; symbols are sent again
only when they are granted again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from simulator.link import constants as c
from simulator.link import messages as m
from simulator.link.payloads import complex_of
from simulator.link.rows import make_row
from simulator.link.session import Session
from simulator.link.text import bounded_label, readable
from simulator.phy.law import Law
from simulator.phy.laws import Laws, Waveform
from simulator.phy.state import ChannelState
from simulator.process import SILENT_CHANNEL
from tx.flight import (
    STAGES,
    Encode,
    Encoded,
    Flight,
    Granted,
    Happened,
    Load,
    Loaded,
    Problem,
    Refused,
    Stage,
)
from tx.interface import Store
from tx.pace import Pace, airtimes_of
from tx.row import RowMaker
from tx.source import Job

Send = Callable[[m.Message, tuple[Any, ...]], bool]


class Transmitter:
    """Keeps ``window`` frames in flight until every job is in the ledger.

    ``returns``: which pictures are wanted back. ``latest``: of the frames that wait for the window,
    only the newest is kept; the others end as dropped. ``pace``: what bounds their ratios.
    """

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
        returns: m.Returns | None = None,
        latest: bool = False,
        pace: Pace | None = None,
    ) -> None:
        self.pending = deque(jobs)
        self.jobs = {job.frame_id: job for job in jobs}
        self.session = session
        self.ledger = ledger
        self.codec = codec
        self.rows = RowMaker(run, codec, seed, session.offset)
        self.window, self.max_failures = window, max_failures
        self.attach_reference = attach_reference
        self.wait_receivers = wait_receivers  # before the first image is loaded; 0 after
        self.returns, self.latest, self.pace = returns, latest, pace
        self.flights: dict[bytes, Flight] = {}
        self._laws = Laws(Waveform())  # until WELCOME says which
        self.work: list[Load | Encode] = []
        self.problems: list[Problem] = []  # for the log
        self.happened: list[Happened] = []  # for whoever waits for a frame
        self.refusal = ""  # why the channel has turned a receiver away, until one is there

    @property
    def done(self) -> bool:
        return not self.jobs

    @property
    def room(self) -> int:
        """Frames that may be added now: one waits beside those of the window; where only the latest
        counts, each takes the place of the one before."""
        return 1 if self.latest else max(0, self.window + 1 - len(self.jobs))

    @property
    def waiting_for(self) -> str | None:
        """What keeps every frame here, as a sentence; None when nothing does."""
        welcome = self.session.welcome
        if welcome is None:
            return SILENT_CHANNEL
        if self.wait_receivers:
            refused = f"the last one was refused: {self.refusal}"
            what = refused if self.refusal else "start rx, or wait while it loads its model"
            there = f"{welcome.receivers} of {self.wait_receivers} receivers"
            return f"{there} with codec {self.codec} are there; {what}"
        return None

    def add(self, job: Job) -> None:
        """One frame more. Where only the latest counts, those that wait are dropped."""
        while self.latest and self.pending:
            older = self.pending.popleft()
            self._close(older.frame_id, "dropped", "a newer frame came before there was room")
        self.pending.append(job)
        self.jobs[job.frame_id] = job

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
        for flight in [each for each in self.flights.values() if now >= each.result_until]:
            assert flight.result is not None
            self._store([flight.result], flight.result_until - c.PICTURES_S)

    def _ask(self, flight: Flight, event: str, now: float) -> None:
        """REQUEST, the first time or again, after ``event``. The pause to the next one doubles."""
        assert flight.loaded is not None
        if flight.state != "asking":
            flight.asked_at = now
        flight.take(event)
        if self.session.welcome is None:
            flight.deadline = now
            return
        flight.attempts += 1
        flight.deadline = now + flight.patience_s
        flight.patience_s = min(2 * flight.patience_s, c.MAX_TIMEOUT_S)
        self.session.send(self._request(flight.job, flight.loaded), ())

    def _request(self, job: Job, loaded: Loaded) -> m.Request:
        return m.Request(
            frame_id=job.frame_id,
            draw_key=job.draw_key,
            point=job.point,
            k=loaded.k,
            rounds=loaded.rounds,
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
                flight.count(event)
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
        symbols, number, k = encoded.symbols, encoded.grant.number, len(encoded.symbols)
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
            label=bounded_label(job.name),
            image_sha256=job.image_sha256,
            settings=encoded.grant.settings,
            returns=self.returns,
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
            if flight and parts:
                self._returned(flight, message.stage, parts[0])
        elif isinstance(message, m.Nack):
            self._refused(message, now)

    def _returned(self, flight: Flight, stage: Stage, part: Any) -> None:
        """A picture has come back, for the first time."""
        if len(part) and self.returns and stage not in flight.pictures:
            flight.pictures.add(stage)
            job = flight.job
            self.happened.append(Happened(job.frame_id, job.name, stage, bytes(part)))

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
        h, returned = (complex_of(part) for part in parts)
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
        law, loaded = self._law(flight.job), flight.loaded
        ratio = self._ratio(flight, loaded, law, first=not grant.number)
        self.work.append(Encode(flight.job, loaded.pixels, granted, law, ratio, *rounds))

    def _ratio(self, flight: Flight, loaded: Loaded, law: Law, first: bool) -> Fraction:
        """The largest that a frame may be sent at, the same in all its rounds."""
        budget, welcome = Fraction(flight.job.point.bandwidth_ratio), self.session.welcome
        if self.pace and welcome and first:
            air = (law, welcome.symbol_rate_hz, welcome.guard_s)
            flight.cap = self.pace.cap(airtimes_of(loaded.ks, loaded.rounds, *air), budget)
        return flight.cap.ratio if flight.cap else budget

    def _law(self, job: Job) -> Law:
        """Of the frame's kind of channel, as the channel has said last."""
        if (here := self.session.welcome) and here.waveform != self._laws.waveform:
            self._laws = Laws(here.waveform)
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

    def results(self, results: Sequence[tuple[m.Result, Sequence[Any]]], now: float) -> None:
        """RESULTs with their pictures. Those of a frame whose pictures are lost wait for the next
        offer, which brings them again."""
        whole = []
        for result, pictures in results:
            if (job := self.jobs.get(result.frame_id)) is not None:
                # Without a flight it was sent by an earlier life of this process.
                flight = self.flights.get(result.frame_id) or Flight(job)
                for stage, picture in zip(STAGES, pictures, strict=True):
                    self._returned(flight, stage, picture)
                if not result.complete and not self._wanted(result) <= flight.pictures:
                    if flight.result is None:
                        flight.result, flight.result_until = result, now + c.PICTURES_S
                    continue
            whole.append(result)
        self._store(whole, now)

    def _wanted(self, result: m.Result) -> set[Stage]:
        """Stages of a result whose pictures are to come back."""
        if self.returns is None:
            return set()
        refined = self.returns.upto == "refined" and result.values.get("model") is not None
        return {"preview", "refined"} if refined else {"preview"}

    def _store(self, results: Sequence[m.Result], now: float) -> None:
        """Store RESULTs in one transaction, **then** CONFIRM each; duplicates, too.

        What has no row here is not confirmed: it belongs to a tx of this name in another run.
        """
        rows = []
        for result in results:
            job = self.jobs.get(result.frame_id)
            if job is not None:
                flight = self.flights.get(job.frame_id) or Flight(job)
                row = self.rows.delivered(flight, result, now)
                rows.append((job.frame_id, "delivered", row))
                if self.pace and flight.loaded and flight.cap:
                    taken_s, air_s = now - flight.loaded.began_at, row["airtime_observed_s"] or 0
                    self.pace.served(flight.cap, taken_s, air_s)
        if rows:
            self.ledger.store(rows)
        for frame_id, _, row in rows:
            self._forget(frame_id, row)
        new = {frame_id for frame_id, _, _ in rows}
        for result in results:
            if result.frame_id in new or self.ledger.has(result.frame_id):
                confirm = m.Confirm(frame_id=result.frame_id, receiver=result.receiver)
                self.session.send(confirm, ())

    def _close(self, frame_id: bytes, status: str, reason: str) -> None:
        """A frame ends without a result: refused at the source, or dead."""
        job = self.jobs.get(frame_id)
        if job is None:
            return
        flight = self.flights.get(frame_id) or Flight(job)
        row = make_row(**self.rows.of(job, flight), status=status, reason=readable(reason))
        self.ledger.store([(frame_id, status, row)])
        if status != "dropped":
            self.problems.append(Problem(f"{job.path.name}: {reason}", frame_id))
        self._forget(frame_id, row)

    def _forget(self, frame_id: bytes, row: Mapping[str, Any]) -> None:
        """A frame has its row."""
        flight = self.flights.pop(frame_id, None)
        if job := self.jobs.pop(frame_id, None):
            began_at = flight.loaded.began_at if flight and flight.loaded else None
            self.happened.append(Happened(frame_id, job.name, "row", row=row, began_at=began_at))
        if flight:
            flight.take("stored")
