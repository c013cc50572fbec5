"""The receiver's worker thread: decode, score, save, store; one frame after another."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from rx.chain import Decoder, receive_preview
from rx.receiver import Failed, Staged, Stored, Task
from rx.reference import References
from rx.store import ResultStore
from simulator.errors import StorageError
from simulator.link.clock import Clock, ClockOffset
from simulator.link.ledger import LedgerError
from simulator.link.messages import Frame, WireError
from simulator.settings import RxSettings

log = logging.getLogger("rx")
Event = Staged | Stored | Failed | BaseException
Score = Callable[[Any, Any], dict[str, float | None]]


class Worker(threading.Thread):
    """Takes ``Task``s and lists of confirmed frame ids; answers through ``events``."""

    def __init__(
        self,
        settings: RxSettings,
        codec: str,
        decoder: Decoder,
        references: References,
        score: Score | None,
        store: ResultStore,
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        super().__init__(name="decoder", daemon=True)
        self.tasks: queue.Queue[Task | list[bytes] | None] = queue.Queue()
        self.events: queue.Queue[Event] = queue.Queue()
        self.channel_clock = ClockOffset()  # the session's, which measures it
        self._settings, self._codec = settings, codec
        self._decoder, self._references, self._score = decoder, references, score
        self._store, self._wake, self._clock = store, wake, clock

    def run(self) -> None:
        try:
            while (task := self.tasks.get()) is not None:
                if isinstance(task, Task):
                    self._guarded(task)
                else:
                    self._store.ledger.confirm(task)
        except BaseException as error:  # storage is gone: ends the process
            self._emit(error)

    def _emit(self, event: Event) -> None:
        self.events.put(event)
        self._wake()

    def _guarded(self, task: Task) -> None:
        """One frame; whatever is wrong with it is reported, not fatal."""
        frame = task.frame
        assert frame.air is not None
        try:
            known = self._store.find(frame.frame_id)
            if known is not None:
                self._emit(Stored(frame.frame_id, known[0], known[1], {}))
                return
            self._emit(self._process(task))
        except (LedgerError, StorageError, OSError):
            raise
        except WireError as error:
            self._emit(Failed(frame.frame_id, frame.air.tx, error.reason))
        except Exception as error:
            log.exception("frame %s failed", frame.frame_id.hex())
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:500]
            self._emit(Failed(frame.frame_id, frame.air.tx, reason))

    def _process(self, task: Task) -> Stored:
        frame, parts, clock = task.frame, task.parts, self._clock
        air = frame.air
        assert air is not None
        if frame.codec != self._codec:
            raise WireError(
                "codec",
                f"the frame was made by codec {frame.codec}, this receiver has {self._codec}; "
                f"start both with the same --codec",
            )
        began = clock()
        if self._settings.delay_s:
            time.sleep(self._settings.delay_s)
        settings = self._settings
        preview = receive_preview(
            frame, parts, task.medium, settings.equalizer, self._decoder, clock
        )
        shown = clock()
        elapsed = shown - task.received_at
        self._emit(Staged(frame.frame_id, air.tx, "preview", shown, elapsed))
        # The clock has stopped: what follows is measurement and storage.
        values = self._describe(frame)
        reference = self._references.find(frame, parts) if self._score else None
        if reference is not None and self._score:
            for metric, value in self._score(preview.pixels, reference).items():
                values[f"{metric}_preview"] = for_row(value)
        scored = clock()
        values["preview_file"] = self._store.save(frame, "preview", preview.pixels)
        values |= {
            "rx_at_s": task.received_at + self.channel_clock.offset_s,
            "rx_clock_error_s": self.channel_clock.error_s,
            "rx_queue_s": began - task.received_at,
            "equalize_s": preview.equalize_s,
            "decode_s": preview.decode_s,
            "score_s": scored - shown,
            "save_s": clock() - scored,
        }
        self._store.store(frame.frame_id, air.tx, values)
        return Stored(frame.frame_id, air.tx, values, {"preview": shown})

    def _describe(self, frame: Frame) -> dict[str, Any]:
        """What the row says about the link, as the frame tells it."""
        air = frame.air
        assert air is not None
        return {
            "height": frame.height,
            "width": frame.width,
            "k": frame.k,
            "pilots": frame.pilots,
            "bandwidth_ratio": (frame.k + frame.pilots) / (3 * frame.height * frame.width),
            "csit": air.csit,
            "csir": air.csir,
            "h_abs2": air.h_abs2,
            "received_snr_db": air.received_snr_db,
            "channel_queue_s": air.queue_s,
            "airtime_modelled_s": air.airtime_modelled_s,
            "airtime_observed_s": air.airtime_observed_s,
            "channel_at_s": air.came_at_s,
        }


def for_row(value: float | None) -> float | None:
    """A metric as it stands in a row: six decimals, because the order of a sum, and with it
    the number of threads, shows beyond. Infinity (PSNR of equal images) has no JSON form:
    null, like what is undefined."""
    return round(value, 6) if value is not None and math.isfinite(value) else None
