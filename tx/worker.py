"""The transmitter's worker thread: it reads and encodes images."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from simulator.captions import Captions
from simulator.errors import ImageError, SettingsError, StorageError
from simulator.images import Picture, decode_image, load_image
from simulator.jscc.signal import ToEncode
from simulator.link.clock import Clock
from simulator.link.text import kept_name
from simulator.logs import of_frame
from simulator.newest import Newest
from simulator.png import save_png
from simulator.settings import TxSettings
from tx.at_work import AtWork
from tx.edge import EdgeEncoder
from tx.feedback import Rounds, learnt
from tx.flight import Encode, Encoded, Load, Loaded, Refused
from tx.interface import Encoder
from tx.source import Job

log = logging.getLogger("tx")
Event = Loaded | Encoded | Refused | BaseException


class Worker(threading.Thread):
    """Reads and encodes images; answers through ``events`` and wakes the socket thread."""

    def __init__(
        self,
        encoder: Encoder,
        originals: Path | None,
        at_work: AtWork,
        edge: EdgeEncoder | None,
        settings: TxSettings,
        wake: Callable[[], None],
        clock: Clock,
        captions: Captions | None = None,
    ) -> None:
        super().__init__(name="encoder", daemon=True)
        self.tasks: queue.SimpleQueue[Load | Encode | None] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._encoder, self._originals, self._at_work = edge or encoder, originals, at_work
        self._edge, self._captions = edge, captions
        self._white, self._paced = settings.white, settings.target_fps is not None
        kept = originals.iterdir() if originals else ()
        self._newest = Newest(settings.keep, ((path.name, path) for path in kept))
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
        except SettingsError as error:
            return Refused(task.job, str(error))
        except Exception as error:
            frame_id = task.job.frame_id
            log.exception("frame %s failed", frame_id.hex(), extra=of_frame(frame_id))
            reason = (str(error).splitlines() or [""])[0][:500]
            return Refused(task.job, f"{type(error).__name__}: {reason}")

    def _load(self, task: Load) -> Loaded | Refused:
        began = self._clock()
        job = task.job
        try:
            picture = self._picture(job)
            size = (picture.pixels.shape[0], picture.pixels.shape[1])
            budget = Fraction(job.point.bandwidth_ratio)
            k = self._encoder.k(size, budget)
            ratios = [r for r in self._encoder.ratios if r <= budget] if self._paced else []
            ks = {ratio: self._encoder.k(size, ratio) for ratio in ratios}
        except ImageError as error:
            return Refused(job, str(error))
        notes = "; ".join((*picture.notes, *((self._edge.note,) if self._edge else ())))
        rounds = self._encoder.rounds
        load_s = self._clock() - began
        return Loaded(job, picture.pixels, notes, k, rounds, began, load_s, ks)

    def _picture(self, job: Job) -> Picture:
        if job.pixels is not None:
            return Picture(job.pixels, job.notes, job.image_sha256)
        if job.file is not None:
            return decode_image(job.file, job.name, white=self._white)
        # Repeats of one image follow one another: it is read once.
        if self._last is None or self._last[0] != job.path:
            self._last = (job.path, load_image(job.path, white=self._white))
        return self._last[1]

    def _encode(self, task: Encode) -> Encoded:
        began = self._clock()
        state, heard = task.grant.state, Rounds()
        if task.sent:
            state, heard = learnt(task.sent, task.returned, state, task.law)
        text = self._captions.of(task.job.name) if self._captions else ""
        signal = self._encoder.encode(ToEncode(task.pixels, state, task.ratio, heard, text))
        taken = self._clock() - began
        joules = self._edge.joules if self._edge else None
        return Encoded(task.job.frame_id, task.grant, signal.symbols, signal.side, taken, joules)

    def _save_original(self, task: Encode) -> None:
        """Keep what was sent beside the results, off the clock."""
        if self._originals is None:
            return
        job = task.job
        path = self._originals / kept_name(str(job.path), job.image_sha256.hex())
        if not path.exists():
            save_png(task.pixels, path)
        self._newest.add(job.frame_id.hex(), path)
