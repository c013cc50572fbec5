"""The receiver's worker thread: decode, refine, score, save, store.

Previews come first: whatever has arrived is decoded before anything is refined, and between
denoising steps. What waits is refined in batches of one image size, oldest first.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from rx.chain import Decoders, Preview, condition_of, receive_preview
from rx.receiver import Both, Failed, Staged, Stored, Task
from rx.reference import References
from rx.refiner import Refined, RefinementError, Refiner, ToRefine
from rx.returned import Returned, encode_picture, wanted
from rx.showing import Showing
from rx.store import ResultStore
from rx.together import receive_both
from simulator.errors import DiffJsccError, StorageError
from simulator.link.clock import Clock, ClockOffset
from simulator.link.constants import MAX_PICTURE_BYTES
from simulator.link.heard import heard_of
from simulator.link.ledger import LedgerError
from simulator.link.messages import Arrival, WireError, check_values
from simulator.link.rows import for_row
from simulator.logs import of_frame
from simulator.receiving import RxSettings

log = logging.getLogger("rx")
Event = Staged | Stored | Failed | BaseException
Score = Callable[[Sequence[Any], Any], Sequence[dict[str, float | None]]]
STORAGE_ERRORS = (LedgerError, StorageError, OSError)
GROUP_S = 0.005  # results of so long a time share a commit, while more frames wait
MAX_CAPTION = 500  # characters, of a row


class Stopped(Exception):
    """The worker was told to stop in the middle of a batch."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A frame whose preview is there."""

    task: Task
    preview: Preview
    returned: Returned
    began_at: float
    shown_at: float
    row: Mapping[str, Any] = field(default_factory=dict)  # of one that came as one of two

    @property
    def size(self) -> tuple[int, int]:
        return self.task.frame.height, self.task.frame.width


@dataclass(frozen=True)
class Done:
    """What refining a frame has given, and when it began and ended."""

    image: Refined
    returned: Returned
    began_at: float
    refined_at: float


class Worker(threading.Thread):
    """Takes ``Task``s and lists of confirmed frame ids; answers through ``events``.

    None ends it, in the middle of a batch too: what is not stored is sent again.
    """

    def __init__(
        self,
        settings: RxSettings,
        codec: str,
        decoders: Decoders,
        refiner: Refiner | None,
        references: References,
        score: Score | None,
        store: ResultStore,
        wake: Callable[[], None],
        clock: Clock,
        showing: Showing | None = None,
    ) -> None:
        super().__init__(name="decoder", daemon=True)
        self.tasks: queue.SimpleQueue[Task | Both | list[bytes] | None] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.channel_clock = ClockOffset()  # the session's, which measures it
        self._settings, self._codec = settings, codec
        self._decoders, self._refiner = decoders, refiner
        self._references, self._score = references, score
        self._store, self._wake, self._clock = store, wake, clock
        self._showing = showing
        self._waiting: list[Shown] = []  # to be refined
        self._previews_alone = not (refiner or score or settings.save_images)
        # Of the next commit. Nothing of it is offered before.
        self._results: list[Stored] = []
        self._confirmed: list[bytes] = []
        self._group_began_at = 0.0

    def run(self) -> None:
        try:
            with suppress(Stopped):
                self._work()
            self._commit()
        except BaseException as error:  # storage is gone: ends the process
            self._emit(error)

    def _work(self) -> None:
        while True:
            if not self._waiting:
                self._take(self.tasks.get())
            self._take_all()
            if self._waiting:
                self._refine(self._next_batch())
                self._commit()

    def _emit(self, event: Event) -> None:
        self.events.put(event)
        self._wake()

    def _take_all(self) -> None:
        """Whatever has arrived. Runs between denoising steps, too."""
        while not self.tasks.empty():
            self._take(self.tasks.get())
        self._commit()

    def _take(self, task: Task | Both | list[bytes] | None) -> None:
        if task is None:
            raise Stopped
        if isinstance(task, Task):
            self._guarded(task, partial(self._receive, task))
        elif isinstance(task, Both):
            self._guarded(task.tasks[0], partial(self._receive_both, task))
        else:
            self._confirmed += task

    def _guarded(self, task: Task, work: Callable[[], None]) -> None:
        """Work on one frame; whatever is wrong with it is reported, not fatal."""
        try:
            work()
        except (Stopped, *STORAGE_ERRORS):
            raise
        except WireError as error:
            self._fail(task, error.reason)
        except Exception as error:
            frame_id = task.frame.frame_id
            log.exception("frame %s failed", frame_id.hex(), extra=of_frame(frame_id))
            # A sentence stands for itself; anything else needs its type to be understood.
            told = isinstance(error, RefinementError | DiffJsccError)
            self._fail(task, str(error) if told else f"{type(error).__name__}: {error}")

    def _fail(self, task: Task, reason: str) -> None:
        for frame in task.together.fail() if task.together else (task.frame,):
            self._emit(Failed(frame.frame_id, frame.air.tx, reason.splitlines()[0][:500]))

    # -- previews ----------------------------------------------------------------------------

    def _receive(self, task: Task) -> None:
        """The preview of a frame, and without a refiner the whole frame."""
        frame, clock, settings = task.frame, self._clock, self._settings
        known = self._store.find(frame.frame_id)
        if known is not None:
            self._emit(Stored(frame.frame_id, *known, {}))
            return
        self._check_codec(frame)
        began = clock()
        air, decoder = (task.law, task.packets), self._decoders.preview
        preview = receive_preview(frame, task.parts, *air, settings.equalizer, decoder, clock)
        self._show(task, preview, began)

    def _check_codec(self, frame: Arrival) -> None:
        if frame.codec != self._codec:
            raise WireError(
                "codec",
                f"the frame was made by codec {frame.codec}, this receiver has {self._codec}; "
                f"start both with the same --codec",
            )

    def _show(
        self, task: Task, preview: Preview, began: float, row: Mapping[str, Any] | None = None
    ) -> None:
        returned = self._return(task.frame, "preview", preview.pixels)
        shown = Shown(task, preview, returned, began, self._clock(), row or {})
        self._stage(task, "preview", returned, began, shown.shown_at)
        if self._refiner:
            self._waiting.append(shown)
        else:
            self._finish(shown, None)

    def _receive_both(self, both: Both) -> None:
        """The same of two frames that came as one."""
        ids = [task.frame.frame_id for task in both.tasks]
        known = [found for frame_id in ids if (found := self._store.find(frame_id))]
        if len(known) == len(ids):
            for frame_id, found in zip(ids, known, strict=True):
                self._emit(Stored(frame_id, *found, {}))
            return
        for task in both.tasks:
            self._check_codec(task.frame)
        began, how = self._clock(), self._settings.equalizer
        came = receive_both(both, self._decoders.preview, how, self._clock)
        for task, each in zip(both.tasks, came, strict=True):
            self._show(task, each.preview, began, each.row)

    def _return(self, frame: Arrival, stage: str, pixels: np.ndarray) -> Returned:
        """The picture of a stage as tx wants it back."""
        how = wanted(frame, stage)
        if how is None:
            return Returned()
        began = self._clock()
        picture = encode_picture(pixels, how)
        if len(picture) > MAX_PICTURE_BYTES:
            raise RefinementError(f"the {stage} has {len(picture)} bytes, too many to be returned")
        return Returned(picture, self._clock() - began)

    def _stage(self, task: Task, stage: str, returned: Returned, began: float, at: float) -> None:
        frame, elapsed_s = task.frame, at - task.received_at
        event = Staged(frame.frame_id, frame.air.tx, stage, at, elapsed_s, returned.picture)
        if self._previews_alone and at - began < GROUP_S and not self.tasks.empty():
            self.events.put(event)  # the next commit, which is soon, wakes the socket's thread
        else:
            self._emit(event)

    # -- refined images ----------------------------------------------------------------------

    def _next_batch(self) -> list[Shown]:
        """The oldest frame that waits, with others of its size."""
        assert self._refiner is not None
        size = self._waiting[0].size
        alike = [shown for shown in self._waiting if shown.size == size]
        batch = alike[: self._refiner.limit(size)]
        self._waiting = [shown for shown in self._waiting if shown not in batch]
        return batch

    def _refine(self, batch: list[Shown]) -> None:
        if len(batch) == 1:
            self._guarded(batch[0].task, partial(self._refine_together, batch))
            return
        try:
            self._refine_together(batch)
        except (Stopped, *STORAGE_ERRORS):
            raise
        except Exception as error:  # whose fault it is shows when each is alone
            for shown in batch:
                log.warning(
                    "its batch of %d failed (%s): refined alone", len(batch), error,
                    extra=of_frame(shown.task.frame.frame_id),
                )  # fmt: skip
                self._refine([shown])

    def _refine_together(self, batch: list[Shown]) -> None:
        assert self._refiner is not None
        began = self._clock()
        jobs = [self._job_of(shown) for shown in batch]
        showing = self._showing
        if showing:
            showing.begin(batch[0].task.frame, jobs[0].pixels)
        on_estimate = showing.step if showing else None
        images = self._refiner.refine(jobs, lambda *_: self._take_all(), on_estimate)
        if showing:
            showing.end(images[0].pixels)
        done = []
        for shown, image in zip(batch, images, strict=True):
            returned = self._return(shown.task.frame, "refined", image.pixels)
            done.append(Done(image, returned, began, ended := self._clock()))
            self._stage(shown.task, "refined", returned, began, ended)
        for shown, one in zip(batch, done, strict=True):
            self._take_all()
            self._guarded(shown.task, partial(self._finish, shown, one))

    def _job_of(self, shown: Shown) -> ToRefine:
        frame, preview = shown.task.frame, shown.preview
        pixels = condition_of(preview, self._decoders)
        state = self._decoders.preview.conditioned(preview.given.state)
        return ToRefine(
            pixels,
            state.snr_db,
            state.gain,
            frame.draw_key,
            frame.label,
            caption=preview.said.text or None,
            stream=frame.air.tx,
            sketch=preview.said.edges,
        )

    # -- the row -----------------------------------------------------------------------------

    def _finish(self, shown: Shown, done: Done | None) -> None:
        """Score, save, store. The clocks have stopped: this is measurement and storage."""
        task, preview, clock = shown.task, shown.preview, self._clock
        frame, air = task.frame, task.frame.air
        began = clock()
        images = {"preview": preview.pixels}
        stages = {"preview": shown.shown_at}
        values: dict[str, Any] = {**heard_of(frame), "channel_at_s": air.came_at_s, **shown.row}
        if done and self._refiner:
            images["refined"], stages["refined"] = done.image.pixels, done.refined_at
            values |= self._describe_refined(done)
        reference = self._references.find(frame, task.parts) if self._score else None
        if reference is not None and self._score:
            scores = self._score(list(images.values()), reference)
            for stage, metrics in zip(images, scores, strict=True):
                values |= {f"{name}_{stage}": for_row(value) for name, value in metrics.items()}
        if frame.returns:
            returned = [shown.returned, *([done.returned] if done else [])]
            values["returned_bytes"] = sum(len(each.picture) for each in returned)
            values["return_s"] = sum(each.seconds for each in returned)
        scored = clock()
        for stage, pixels in images.items():
            values[f"{stage}_file"] = self._store.save(frame, stage, pixels)
        values |= {
            "rx_at_s": task.received_at + self.channel_clock.offset_s,
            "rx_clock_error_s": self.channel_clock.error_s,
            "rx_queue_s": shown.began_at - task.received_at,
            "equalize_s": preview.equalize_s,
            "decode_s": preview.decode_s,
            "score_s": scored - began,
            "save_s": (saved := clock()) - scored,
        }
        check_values(values)
        if not self._results:
            self._group_began_at = shown.began_at
        stored = Stored(frame.frame_id, air.tx, values, stages, task.received_at)
        self._results += task.together.store(stored) if task.together else [stored]
        if saved - self._group_began_at >= GROUP_S:
            self._commit()

    def _commit(self) -> None:
        """Results, and what tx has confirmed, in one transaction; **then** RESULTs are offered."""
        if not (self._results or self._confirmed):
            return
        self._store.store(self._results, self._confirmed)
        for result in self._results:
            self._emit(result)
        self._results, self._confirmed = [], []

    def _describe_refined(self, done: Done) -> dict[str, Any]:
        """What the row says about how the image was refined."""
        refiner = self._refiner
        assert refiner is not None
        return {
            "model": refiner.model,
            "solver": refiner.solver,
            "steps": refiner.steps,
            "guidance_scale": refiner.guidance_scale,
            "caption": done.image.caption[:MAX_CAPTION],
            "notes": done.image.notes,
            "refine_at_s": done.began_at + self.channel_clock.offset_s,
            **done.image.seconds,
        }
