"""The transmitter process: one thread for the socket and the ledger, one for the encoder."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import zmq

from simulator.connection import Connection
from simulator.errors import ImageError, RejectedError, StorageError
from simulator.images import Picture, load_image
from simulator.jscc.folder import read_codec_folder
from simulator.jscc.oranet import digest_of
from simulator.jscc.signal import ToEncode
from simulator.link import messages as m
from simulator.link.clock import Clock, monotonic
from simulator.link.constants import VERSION
from simulator.link.ledger import LedgerError, TxLedger
from simulator.link.session import Rejected, Session
from simulator.link.text import kept_name
from simulator.link.waker import Waker
from simulator.live import Live, Rate, duration, rate_text
from simulator.logs import of_frame
from simulator.phy.state import ChannelState
from simulator.png import save_png
from simulator.process import POLL_S, Reminder, Stopper
from simulator.settings import Settings, White, about, settings_hash
from tx.at_work import MAX_DEATHS, AtWork
from tx.encoder import make_encoder
from tx.feedback import Rounds, learnt
from tx.flight import Encode, Encoded, Load, Loaded, Refused
from tx.interface import Encoder
from tx.source import Job
from tx.transmitter import Transmitter

LAST_WORD_MS = 200

log = logging.getLogger("tx")
Event = Loaded | Encoded | Refused | BaseException


class Worker(threading.Thread):
    """Reads and encodes images; answers through ``events`` and wakes the socket thread."""

    def __init__(
        self,
        encoder: Encoder,
        originals: Path | None,
        at_work: AtWork,
        white: White,
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        super().__init__(name="encoder", daemon=True)
        self.tasks: queue.SimpleQueue[Load | Encode | None] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._encoder, self._originals, self._at_work = encoder, originals, at_work
        self._white = white
        self._wake, self._clock = wake, clock
        self._last: tuple[Path, Picture] | None = None

    def run(self) -> None:
        try:
            while (task := self.tasks.get()) is not None:
                with self._at_work.frame(task.job.frame_id):
                    self.events.put(self._guarded(task))
                    self._wake()
                    if isinstance(task, Encode):
                        self._save_original(task)
        except BaseException as error:  # ends the process, in the socket thread
            self.events.put(error)
            self._wake()

    def _guarded(self, task: Load | Encode) -> Loaded | Encoded | Refused:
        """Whatever is wrong with one image is its reason, and not the end of the others."""
        try:
            return self._load(task) if isinstance(task, Load) else self._encode(task)
        except StorageError:
            raise
        except Exception as error:
            frame_id = task.job.frame_id
            log.exception("frame %s failed", frame_id.hex(), extra=of_frame(frame_id))
            reason = (str(error).splitlines() or [""])[0][:500]
            return Refused(task.job, f"{type(error).__name__}: {reason}")

    def _load(self, task: Load) -> Loaded | Refused:
        began = self._clock()
        job = task.job
        try:
            # Repeats of one image follow one another: it is read once.
            if self._last is None or self._last[0] != job.path:
                self._last = (job.path, load_image(job.path, white=self._white))
            picture = self._last[1]
            size = (picture.pixels.shape[0], picture.pixels.shape[1])
            k = self._encoder.k(size, Fraction(job.point.bandwidth_ratio))
        except ImageError as error:
            return Refused(job, str(error))
        notes = "; ".join(picture.notes)
        rounds = self._encoder.rounds
        return Loaded(job, picture.pixels, notes, k, rounds, began, self._clock() - began)

    def _encode(self, task: Encode) -> Encoded:
        began = self._clock()
        state, heard = task.grant.state, Rounds()
        if task.sent:
            state, heard = learnt(task.sent, task.returned, state, task.law)
        signal = self._encoder.encode(ToEncode(task.pixels, state, task.ratio, heard))
        taken = self._clock() - began
        return Encoded(task.job.frame_id, task.grant, signal.symbols, signal.side, taken)

    def _save_original(self, task: Encode) -> None:
        """Keep what was sent beside the results, off the clock."""
        if self._originals is None:
            return
        job = task.job
        path = self._originals / kept_name(str(job.path), job.image_sha256.hex())
        if not path.exists():
            save_png(task.pixels, path)


class TransmitterService:
    """Sends every frame of the manifest, ``jobs``, that the ledger does not hold yet."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        jobs: Sequence[Job],
        retry_dead: bool = False,
        clock: Clock = monotonic,
    ) -> None:
        self._clock = clock
        self._folder = read_codec_folder(settings.codec)
        log.info("loading the encoder of codec %s", self._folder.fingerprint)
        encoder = make_encoder(settings.tx, self._folder)
        for ratio in settings.tx.bandwidth_ratio:
            # Refuses a ratio before anything is sent, and warms the runtime up.
            blank = np.zeros((64, 64, 3), np.uint8)
            encoder.encode(ToEncode(blank, ChannelState(10.0), Fraction(ratio)))
        controlled = settings.tx.target_psnr_db is not None
        oranet = digest_of(self._folder) if controlled else ""
        fields = settings.tx_hash_fields(self._folder.fingerprint, oranet)
        identity = settings_hash(fields)
        try:
            self.ledger = TxLedger(folder / "tx.db", settings.durability)
            self.ledger.require("run", settings.run)
            self.ledger.require("settings", identity)
            if retry_dead:
                log.info("%d dead frames are tried again", self.ledger.retry_dead())
            finished = self.ledger.finished()
            self._at_work = AtWork(folder)
            fatal = self._at_work.died_at()
            deaths = self.ledger.died_at(fatal) if fatal else 0
        except LedgerError as error:
            raise StorageError(str(error)) from None
        originals = folder / "images" / "original" if settings.tx.save_originals else None
        if originals is not None:
            originals.mkdir(parents=True, exist_ok=True)
        tx = settings.tx
        self._connection = Connection("tx", tx.name, tx.connect, tx.keys)
        self._waker = Waker()
        self._worker = Worker(encoder, originals, self._at_work, tx.white, self._waker.wake, clock)
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
        self.transmitter = Transmitter(
            [job for job in jobs if job.frame_id not in finished],
            session,
            self.ledger,
            self._folder.fingerprint,
            settings.run,
            settings.seed,
            settings.tx.window,
            settings.tx.max_failures,
            settings.tx.reference == "attached",
            settings.tx.wait_receivers,
        )
        for job in jobs:
            if job.frame_id == fatal and deaths >= MAX_DEATHS:
                reason = f"{job.path}: tx died {deaths} times while it worked on this image"
                self.transmitter.worked(Refused(job, reason), clock())
        self._total, self._rate = len(jobs), Rate()
        what = "frame" if len(jobs) == 1 else "frames"
        log.info("%d %s, %d already in the ledger", len(jobs), what, len(finished))

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
            while not stop and not transmitter.done:
                if live.due(now := self._clock()):
                    live.show(self.status(now), now)
                transmitter.tick(self._clock())
                self._connection.look(self._clock())
                waiting_for = self._connection.problem or transmitter.waiting_for
                reminder.waiting(waiting_for, self._clock())
                self._give_work()
                ready = dict(poller.poll(int(POLL_S * 1000)))
                if self._waker.reader in ready:
                    self._waker.drain()
                self._take_events()
                if self._connection.socket in ready:
                    self._drain_socket()
                self._give_work()
                for problem in transmitter.problems:
                    log.warning("%s", problem.sentence, extra=of_frame(problem.frame_id))
                transmitter.problems.clear()
        except Rejected as error:
            raise RejectedError(f"the channel refused tx: {error}") from None
        except LedgerError as error:
            raise StorageError(str(error)) from None
        finally:
            live.close()
            self._worker.tasks.put(None)
        return transmitter.done

    def status(self, now: float) -> str:
        """How far it is, in one line."""
        left = len(self.transmitter.jobs)
        done, flying = self._total - left, len(self.transmitter.flights)
        per_s = self._rate.per_s(done, now)
        text = f"{done} of {self._total} frames, {flying} under way{rate_text(per_s)}"
        if per_s:
            text += f", about {duration(left / per_s)} left"
        waiting_for = self._connection.problem or self.transmitter.waiting_for
        return f"{text}; {waiting_for}" if waiting_for else text

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
        results: list[m.Result] = []
        while (raw := self._connection.receive()) is not None:
            try:
                message, parts = m.decode(raw)
                if isinstance(message, m.Result):
                    results.append(message)
                else:
                    self.transmitter.receive(message, self._clock(), parts)
            except m.WireError as error:
                log.warning("ignored a message: %s", error.reason)
        if results:
            names = self._names_of(results)
            self.transmitter.results(results, self._clock())
            for result in results:
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
        self._worker.join(timeout=30)
        self._waker.close()
        # The last CONFIRM gets a moment to leave; if it is lost, rx offers its result again.
        self._connection.close(LAST_WORD_MS)
        self.ledger.close()
        if not self._worker.is_alive():  # one that is still at an image may write its end
            self._at_work.close()
