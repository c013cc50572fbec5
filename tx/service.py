"""The transmitter process: one thread for the socket and the ledger, one for the encoder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import zmq

from simulator.captions import Captions
from simulator.connection import Connection
from simulator.errors import RejectedError, SettingsError, StorageError
from simulator.jscc.folder import CodecFolder, read_codec_folder
from simulator.jscc.oranet import digest_of
from simulator.jscc.signal import ToEncode
from simulator.link import messages as m
from simulator.link.clock import Clock, monotonic
from simulator.link.constants import VERSION
from simulator.link.ledger import LedgerError, NewestRows, TxLedger
from simulator.link.session import Rejected, Session
from simulator.link.waker import Waker
from simulator.live import Live, Rate, duration, rate_text
from simulator.logs import of_frame
from simulator.observe.client import observed
from simulator.observe.seen import Seen
from simulator.phy.state import ChannelState
from simulator.process import POLL_S, Reminder, Stopper
from simulator.rowfile import RowFile
from simulator.settings import Settings, TxSettings, about, settings_hash
from tx.announced import announce, announced
from tx.at_work import MAX_DEATHS, AtWork
from tx.edge import emulate
from tx.encoder import make_encoder
from tx.flight import Happened, Refused
from tx.pace import Pace
from tx.source import Job
from tx.stream import Feed
from tx.superposed import SuperposedTransmitter, check_encoder, mine_of
from tx.transmitter import Transmitter
from tx.worker import Worker

LAST_WORD_MS = 200
SMALL = (64, 64)  # what the encoder is tried on
TEXTED = ("sketch",)  # codecs that send a text

log = logging.getLogger("tx")


def returns_of(settings: TxSettings) -> m.Returns | None:
    """Which pictures are wanted back, as a FRAME says it."""
    if settings.returns == "none":
        return None
    return m.Returns(upto=settings.returns, format=settings.return_format)


def captions_of(settings: TxSettings, folder: CodecFolder) -> Captions | None:
    """What ``tx.captions`` names. Raises ``SettingsError`` where it cannot be read, or the codec
    sends no text."""
    if not settings.captions:
        return None
    if folder.name not in TEXTED:
        raise SettingsError(
            f"tx.captions: codec {folder.name!r} sends no text; leave it out, or put the codec "
            f"behind one that does: diffjscc wrap sketch."
        )
    return Captions.from_file(settings.captions)


class TransmitterService:
    """Sends every frame of its feed that the ledger does not hold yet.

    ``listen`` is called in the socket thread with what happens to frames, and must return at once.
    Without ``durable`` nothing is kept: only ``listen`` gets the rows, and frames that are under
    way end with the process.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        feed: Feed,
        retry_dead: bool = False,
        clock: Clock = monotonic,
        listen: Callable[[Happened], None] = lambda happened: None,
        durable: bool = True,
    ) -> None:
        self._clock = clock
        self._folder = read_codec_folder(settings.codec)
        log.info("loading the encoder of codec %s", self._folder.fingerprint)
        encoder = make_encoder(settings.tx, self._folder)
        captions = captions_of(settings.tx, self._folder)
        blank = np.zeros((*SMALL, 3), np.uint8)
        for ratio in settings.tx.bandwidth_ratio:
            # Refuses a ratio before anything is sent, and warms the runtime up.
            encoder.encode(ToEncode(blank, ChannelState(10.0), Fraction(ratio)))
        first = Fraction(settings.tx.bandwidth_ratio[0])
        if mine := mine_of(settings, feed):
            check_encoder(encoder, ToEncode(blank, ChannelState(10.0), first))
        self._encoder = encoder
        self._edge = emulate(settings.tx.edge, encoder, first, folder if durable else None)
        controlled = settings.tx.target_psnr_db is not None
        oranet = digest_of(self._folder) if controlled else ""
        said = captions.fingerprint if captions else ""
        fields = settings.tx_hash_fields(self._folder.fingerprint, oranet, said)
        identity = settings_hash(fields)
        try:
            self.ledger = (
                TxLedger(folder / "tx.db", settings.durability) if durable else NewestRows()
            )
            self.ledger.require("run", settings.run)
            self.ledger.require("settings", identity)
            if retry_dead:
                log.info("%d dead frames are tried again", self.ledger.retry_dead())
            self._finished = self.ledger.finished()
            left_over = list(announced(self.ledger))
            ordered = feed.total is not None
            self._rows = (
                RowFile(folder, self.ledger, settings.tx.roll_bytes, ordered) if durable else None
            )
            self._at_work = AtWork(folder)
            self._fatal = self._at_work.died_at()
            self._deaths = self.ledger.died_at(self._fatal) if self._fatal else 0
            number = self.ledger.next_number()
        except LedgerError as error:
            raise StorageError(str(error)) from None
        originals = folder / "images" / "original" if settings.tx.save_originals else None
        if originals is not None:
            originals.mkdir(parents=True, exist_ok=True)
        tx = settings.tx
        self._connection = Connection("tx", tx.name, tx.connect, tx.keys)
        self._observer = observed(self._connection, tx.observe, clock)
        self._waker = Waker()
        work = (encoder, originals, self._at_work, self._edge)
        self._worker = Worker(*work, tx, self._waker.wake, clock, captions)
        hello = m.Hello(
            version=VERSION,
            role="tx",
            name=settings.tx.name,
            run=settings.run,
            settings=identity,
            codec=self._folder.fingerprint,
            about=about(fields),
        )
        session = Session(hello, self._connection.send)
        make = partial(SuperposedTransmitter, mine, self.ledger) if mine else Transmitter
        self.transmitter = make(
            (),
            session,
            self.ledger,
            self._folder.fingerprint,
            settings.run,
            settings.seed,
            settings.tx.window,
            settings.tx.max_failures,
            settings.tx.reference == "attached",
            settings.tx.wait_receivers,
            returns_of(tx),
            tx.when_busy == "latest",
            Pace(tx.target_fps, tx.window) if tx.target_fps else None,
        )
        self._show()
        self._listen, self._rate = listen, Rate()
        self._done = 0
        for job in left_over:
            self._add(job)
        self._feed = feed
        feed.begin(number, self._waker.wake)
        self._take_frames()
        if feed.total is None:
            log.info("%d frames are left over", len(left_over))
        else:
            what = "frame" if feed.total == 1 else "frames"
            log.info("%d %s, %d already in the ledger", feed.total, what, len(self._finished))

    def _show(self) -> None:
        """What can be read from outside."""
        read, transmitter = self._observer.read, self.transmitter
        read("queue_frames", lambda: len(transmitter.pending), queue="pending")
        read("queue_frames", lambda: len(transmitter.flights), queue="in_flight")
        welcomed = transmitter.session
        read("channel_connected", lambda: welcomed.welcome is not None)
        read("receivers_connected", lambda: welcomed.receivers)

    def _add(self, job: Job) -> None:
        if job.frame_id in self._finished:
            self._done += 1
            return
        self.transmitter.add(job)
        if job.frame_id == self._fatal and self._deaths >= MAX_DEATHS:
            reason = f"{job.path}: tx died {self._deaths} times while it worked on this image"
            self.transmitter.worked(Refused(job, reason), self._clock())

    def _take_frames(self) -> None:
        """What has come into the feed; the ledger first, so that nothing of it is lost."""
        for job in self._feed.take(self.transmitter.room):
            if self._feed.total is None:
                announce(self.ledger, job)
            self._add(job)

    def _tell(self) -> None:
        transmitter = self.transmitter
        for problem in transmitter.problems:
            log.warning("%s", problem.sentence, extra=of_frame(problem.frame_id))
        transmitter.problems.clear()
        for happened in transmitter.happened:
            if happened.row is not None:
                self._done += 1
                if self._rows:
                    self._rows.write(happened.row)
                if self._observer:
                    row, began_at = happened.row, happened.began_at
                    seen = Seen(happened.frame_id, str(row["status"]), row, began_at)
                    self._observer.frame(seen)
            self._listen(happened)
        transmitter.happened.clear()

    def run(self, stop: Stopper) -> bool:
        """Send until all is in the ledger (True) or ``stop`` (False).

        Raises ``RejectedError``, ``AddressError`` and ``StorageError``.
        """
        self._worker.start()
        poller = zmq.Poller()
        poller.register(self._connection.socket, zmq.POLLIN)
        poller.register(self._waker.reader, zmq.POLLIN)
        transmitter = self.transmitter
        reminder = Reminder(log.warning)
        live = Live(log, self._clock())
        try:
            while not stop and not (transmitter.done and self._feed.ended):
                self._observer.turn()
                self._take_frames()
                if live.due(now := self._clock()):
                    live.show(self.status(now), now)
                transmitter.tick(self._clock())
                self._connection.look(self._clock())
                reminder.waiting(self.waiting_for, self._clock())
                self._give_work()
                ready = dict(poller.poll(int(POLL_S * 1000)))
                if self._waker.reader in ready:
                    self._waker.drain()
                self._take_events()
                if self._connection.socket in ready:
                    self._drain_socket()
                self._give_work()
                self._tell()
        except Rejected as error:
            raise RejectedError(f"the channel refused tx: {error}") from None
        except LedgerError as error:
            raise StorageError(str(error)) from None
        finally:
            live.close()
            self._worker.tasks.put(None)
            if self._edge:
                self._edge.release()
        return transmitter.done and self._feed.ended

    def status(self, now: float) -> str:
        """How far it is, in one line."""
        total, done, flying = self._feed.total, self._done, len(self.transmitter.flights)
        per_s = self._rate.per_s(done, now)
        of = "" if total is None else f" of {total}"
        text = f"{done}{of} frames, {flying} under way{rate_text(per_s)}"
        if per_s and total is not None:
            text += f", about {duration((total - done) / per_s)} left"
        return f"{text}; {self.waiting_for}" if self.waiting_for else text

    def check_ratio(self, ratio: Fraction) -> None:
        """In any thread. Raises ``SettingsError`` where the codec does not have it."""
        self._encoder.k(SMALL, ratio)

    @property
    def waiting_for(self) -> str | None:
        """What keeps every frame here, as a sentence; None when nothing does."""
        return self._connection.problem or self.transmitter.waiting_for

    def _give_work(self) -> None:
        for task in self.transmitter.work:
            self._worker.tasks.put(task)
        self.transmitter.work.clear()

    def _take_events(self) -> None:
        while not self._worker.events.empty():
            event = self._worker.events.get()
            if isinstance(event, BaseException):
                raise event
            self.transmitter.worked(event, self._clock())

    def _drain_socket(self) -> None:
        results: list[tuple[m.Result, Sequence[bytes]]] = []
        while (raw := self._connection.receive()) is not None:
            try:
                message, parts = m.decode(raw)
                if isinstance(message, m.Result):
                    results.append((message, parts))
                else:
                    self.transmitter.receive(message, self._clock(), parts)
            except m.WireError as error:
                log.warning("ignored a message: %s", error.reason)
        if results:
            said = [result for result, _ in results]
            names = self._names_of(said)
            self.transmitter.results(results, self._clock())
            for result in said:
                if name := names.get(result.frame_id):
                    log.debug("%s has arrived at %s", name, result.receiver,
                              extra=of_frame(result.frame_id))  # fmt: skip

    def _names_of(self, results: Sequence[m.Result]) -> dict[bytes, str]:
        """Images of the results that are new, where every frame is logged."""
        if not log.isEnabledFor(logging.DEBUG):
            return {}
        jobs = self.transmitter.jobs
        return {r.frame_id: jobs[r.frame_id].path.name for r in results if r.frame_id in jobs}

    def close(self) -> None:
        if self._worker.ident is not None:  # it was started
            self._worker.join(timeout=30)
        self._waker.close()
        # The last CONFIRM gets a moment to leave; if it is lost, rx offers its result again.
        self._connection.close(LAST_WORD_MS)
        self._observer.close()
        self.ledger.close()
        if self._rows:
            self._rows.close()
        if not self._worker.is_alive():  # one that is still at an image may write its end
            self._at_work.close()
