"""The receiver process: one thread for the socket, one for the work."""

from __future__ import annotations

import logging
from pathlib import Path

import zmq

from rx.chain import Decoders, NullDecoder, SlowDecoder, check_equalizer, make_decoder
from rx.load import load_refiner
from rx.receiver import Failed, Receiver, Stored
from rx.reference import References
from rx.refiner import Refiner
from rx.showing import Showing
from rx.store import ResultStore
from rx.worker import Score, Worker
from simulator.connection import Connection
from simulator.errors import RejectedError, StorageError, missing_package
from simulator.jscc.folder import WEIGHTLESS, read_codec_folder
from simulator.link import messages as m
from simulator.link.clock import Clock, monotonic
from simulator.link.constants import VERSION
from simulator.link.ledger import LedgerError
from simulator.link.session import Rejected, Session
from simulator.link.waker import Waker
from simulator.live import READY, Live, Rate, rate_text
from simulator.logs import of_frame
from simulator.observe.client import observed
from simulator.observe.seen import Seen
from simulator.process import POLL_S, SILENT_CHANNEL, Reminder, Stopper, pick_device
from simulator.receiving import RxSettings
from simulator.settings import Settings, about, settings_hash

LAST_WORD_MS = 200
CONFIRMED_S = 0.2  # what tx has confirmed is written so soon, if no frame comes

log = logging.getLogger("rx")


def make_decoders(settings: Settings) -> Decoders:
    """Of the codec in the settings, and of ``rx.preview``, on their device. Raises
    ``SettingsError`` for an equaliser that the codec does not go with."""
    decoders = load_decoders(settings)
    check_equalizer(decoders.preview, settings.rx.equalizer)
    if settings.rx.decode_s:
        slow = SlowDecoder(decoders.preview, settings.rx.decode_s)
        decoders = Decoders(slow, decoders.condition)
    return decoders


def load_decoders(settings: Settings) -> Decoders:
    if settings.codec in WEIGHTLESS and not settings.rx.preview:
        return Decoders(NullDecoder())
    try:
        import torch
    except ImportError:
        raise missing_package("the receiver", "torch", "rx") from None
    if settings.rx.threads:
        torch.set_num_threads(settings.rx.threads)
    device, preview = pick_device(settings.rx.device), settings.rx.preview
    half = settings.rx.decoder_dtype == "bfloat16"
    if not preview:
        return Decoders(make_decoder(settings.codec, device, half))
    from simulator.jscc.checkpoint import check_same_encoder

    check_same_encoder(settings.codec, preview)
    condition = make_decoder(settings.codec, device, half) if settings.rx.refine else None
    return Decoders(make_decoder(preview, device, half), condition)


def make_refiner(settings: Settings) -> Refiner | None:
    """The diffusion receiver, loaded and warm; None where previews are all that is wanted."""
    if not settings.rx.refine:
        return None
    return load_refiner(settings.model, pick_device(settings.rx.device), settings.rx)


def make_score(settings: RxSettings) -> Score | None:
    """The scorer, or None where nothing is to be scored. Says what is unavailable."""
    if settings.reference == "none":
        return None
    try:
        from simulator.metrics.known import SCORED, metric_of
        from simulator.metrics.scorer import Scorer
    except ImportError:
        raise missing_package(
            "scoring", "torch and pytorch-msssim", "rx", "use --set rx.reference=none"
        ) from None
    metrics = [key for key in SCORED if key != "lpips" or settings.lpips]
    scorer = Scorer(pick_device(settings.device), metrics)
    for key, reason in scorer.unavailable.items():
        log.warning("%s is unavailable: %s", metric_of(key).label, reason)
    return scorer.score_many


class ReceiverService:
    """Loads everything before it says HELLO, so that a frame never waits for a model."""

    def __init__(self, settings: Settings, folder: Path, clock: Clock = monotonic) -> None:
        rx = settings.rx
        self._clock = clock
        self._drain_s, self._drain_until = rx.drain_s, 0.0
        codec = read_codec_folder(settings.codec)
        log.info("loading codec %s", codec.fingerprint)
        decoders = make_decoders(settings)
        if rx.refine:
            log.info("loading model %s", settings.model)
        refiner = make_refiner(settings)
        model = refiner.model if refiner else ""
        preview = read_codec_folder(rx.preview).fingerprint if rx.preview else ""
        fields = settings.rx_hash_fields(codec.fingerprint, model, preview)
        identity = settings_hash(fields)
        if rx.reference != "none":
            log.info("loading the metrics")
        score = make_score(rx)
        references = References(rx.reference, settings.tx.white)
        try:
            store = ResultStore(
                folder, rx.name, identity, settings.durability, rx.save_images, rx.keep
            )
            waiting = store.ledger.unconfirmed(identity)
        except (LedgerError, OSError) as error:
            raise StorageError(str(error)) from None
        self._store = store
        self._connection = Connection("rx", rx.name, rx.connect, rx.keys)
        self._observer = observed(self._connection, rx.observe, clock)
        self._waker = Waker()
        self._worker = Worker(
            rx,
            codec.fingerprint,
            decoders,
            refiner,
            references,
            score,
            store,
            self._waker.wake,
            clock,
            Showing(folder, rx.name) if rx.show_steps else None,
        )
        hello = m.Hello(
            version=VERSION,
            role="rx",
            name=rx.name,
            run=settings.run,
            settings=identity,
            codec=codec.fingerprint,
            about=about(fields),
        )
        session = Session(hello, self._connection.send)
        self.receiver = Receiver(session, rx.name, identity, rx.slots, store.pictures, rx.affinity)
        self._worker.channel_clock = session.offset
        for frame_id, tx, values in waiting:
            self.receiver.worked(Stored(frame_id, tx, values, {}), clock())
        log.info("codec %s, %d results to offer again", codec.fingerprint, len(waiting))
        if refiner:
            how = f"{refiner.solver}, {refiner.steps} steps" if refiner.diffusion else "in one pass"
            log.info("model %s, %s", model, how)
        self._done, self._rate, self._told_at = 0, Rate(), clock()
        self._show()
        log.info(READY)

    def _show(self) -> None:
        """What can be read from outside."""
        read, receiver = self._observer.read, self.receiver
        read("queue_frames", lambda: len(receiver.held), queue="held")
        read("queue_frames", lambda: len(receiver.offers), queue="offered")
        read("channel_connected", lambda: receiver.session.welcome is not None)

    def run(self, stop: Stopper) -> None:
        """Serve until ``stop``, then finish what is held.

        Raises ``RejectedError``, ``AddressError`` and ``StorageError``.
        """
        self._worker.start()
        poller = zmq.Poller()
        poller.register(self._connection.socket, zmq.POLLIN)
        poller.register(self._waker.reader, zmq.POLLIN)
        reminder = Reminder(log.warning)
        live = Live(log, self._clock())
        try:
            while not (stop and self._drained(stop)):
                self._observer.turn()
                if live.due(now := self._clock()):
                    live.show(self.status(now), now)
                self.receiver.tick(self._clock())
                self._connection.look(self._clock())
                alone = None if self.receiver.session.welcome else SILENT_CHANNEL
                reminder.waiting(self._connection.problem or alone, self._clock())
                ready = dict(poller.poll(int(POLL_S * 1000)))
                if self._waker.reader in ready:
                    self._waker.drain()
                self._take_events()
                if self._connection.socket in ready:
                    self._drain_socket()
                self._give_work()
        except Rejected as error:
            raise RejectedError(f"the channel refused rx: {error}") from None
        finally:
            live.close()
            self._tell_confirmed()
            self._worker.tasks.put(None)

    def status(self, now: float) -> str:
        """What it has done and holds, in one line."""
        receiver = self.receiver
        text = f"{self._done} frames done, {len(receiver.held)} held"
        if receiver.offers:
            text += f", {len(receiver.offers)} to be confirmed"
        text += rate_text(self._rate.per_s(self._done, now))
        problem = self._connection.problem or (None if receiver.session.welcome else SILENT_CHANNEL)
        return f"{text}; {problem}" if problem else text

    def _drained(self, stop: Stopper) -> bool:
        """Whether nothing is held any more, or it takes too long. Nothing is lost then, either:
        the channel gives those frames to another receiver."""
        receiver, now = self.receiver, self._clock()
        if not receiver.draining:
            receiver.drain()
            self._drain_until = now + self._drain_s
            log.info("stopping; %d frames are finished first", len(receiver.held))
        return not receiver.held or now >= self._drain_until or stop.insisted

    def _take_events(self) -> None:
        while not self._worker.events.empty():
            event = self._worker.events.get()
            if isinstance(event, LedgerError | OSError | StorageError):
                raise StorageError(str(event)) from None
            if isinstance(event, BaseException):
                raise event
            if self._observer and isinstance(event, Failed):
                self._observer.frame(Seen(event.frame_id, "failed", {}, None))
            if isinstance(event, Stored):
                self._done += 1
                if self._observer and event.received_at is not None:
                    seen = Seen(event.frame_id, "stored", event.values, event.received_at)
                    self._observer.frame(seen)
                if log.isEnabledFor(logging.DEBUG):
                    log.debug("result stored", extra=of_frame(event.frame_id))
            self.receiver.worked(event, self._clock())

    def _drain_socket(self) -> None:
        while (raw := self._connection.receive()) is not None:
            try:
                message, parts = m.decode(raw)
            except m.WireError as error:
                log.warning("ignored a message: %s", error.reason)
                continue
            if isinstance(message, m.Nack) and message.code != "say-hello":
                log.warning(
                    "%s: %s", message.code, message.reason, extra=of_frame(message.frame_id)
                )
            self.receiver.receive(message, parts, self._clock())

    def _give_work(self) -> None:
        receiver = self.receiver
        worked = bool(receiver.work)
        while receiver.work:
            self._worker.tasks.put(receiver.work.popleft())
        # A commit for those alone can wait a moment: the next frame's is soon.
        late = self._clock() - self._told_at >= CONFIRMED_S
        if receiver.confirmed and (worked or late):
            self._tell_confirmed()

    def _tell_confirmed(self) -> None:
        self._told_at = self._clock()
        self._worker.tasks.put(self.receiver.confirmed)
        self.receiver.confirmed = []

    def close(self) -> None:
        self._worker.join(timeout=30)
        self._waker.close()
        # The last RESULT gets a moment to leave; if it is lost, it is offered again.
        self._connection.close(LAST_WORD_MS)
        self._observer.close()
        self._store.ledger.close()
