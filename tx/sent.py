"""A frame that was given to a link: what comes back of it, as soon as it is there."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from typing import Any, Literal, TypeVar

import numpy as np
from PIL import Image

from simulator.errors import DeliveryError, SettingsError
from simulator.images import Pixels
from tx.flight import Happened, Stage
from tx.source import Job

Value = TypeVar("Value")
Upto = Literal["none", "preview", "refined"]


def comes_back(stage: Stage, upto: Upto) -> bool:
    """Whether the picture of a stage comes back over a link that returns ``upto``."""
    return upto != "none" and stage in ("preview", upto)


def called(what: str) -> str:
    """A stage or the row, in a sentence."""
    return "refined image" if what == "refined" else what


class Sent:
    """``name``: as in its row; ``frame_id``: in hex, as there; ``number``: of its stream.

    Each of ``preview``, ``refined`` and ``row`` waits for at most ``timeout`` seconds, None for as
    long as it takes, and raises ``TimeoutError`` with a sentence that says why it takes so long.
    They may be asked by any thread, and again.
    """

    def __init__(self, job: Job, upto: Upto, why: Callable[[], str]) -> None:
        self.key = job.frame_id
        self.name, self.number, self.frame_id = job.label, job.repeat, job.frame_id.hex()
        self._size = None if job.pixels is None else job.pixels.shape
        self._upto = upto
        self.pictures: dict[Stage, Future[bytes]] = {"preview": Future(), "refined": Future()}
        self.rows: Future[dict[str, Any]] = Future()
        self._why = why

    def preview(self, timeout: float | None = None) -> Pixels:
        """The first image, (H, W, 3) uint8 RGB, as the codec decodes it.

        Raises ``DeliveryError`` where the frame was not delivered, and ``SettingsError`` where its
        pictures do not come back.
        """
        return self._picture("preview", timeout)

    def refined(self, timeout: float | None = None) -> Pixels:
        """The refined image, (H, W, 3) uint8 RGB; raises as ``preview`` does."""
        return self._picture("refined", timeout)

    def row(self, timeout: float | None = None) -> dict[str, Any]:
        """The result row, of whatever status: its keys are those of results.jsonl."""
        return self._wait(self.rows, "row", timeout)

    @property
    def done(self) -> bool:
        """Whether it has its row."""
        return self.rows.done()

    def check(self, stage: Stage) -> None:
        """Raises ``SettingsError`` where the picture of a stage does not come back."""
        if not comes_back(stage, self._upto):
            raise SettingsError(
                f"the {called(stage)} does not come back over this link; connect with "
                f"returns={stage!r}."
            )

    def picture(self, stage: Stage, file: bytes) -> Pixels:
        """(H, W, 3) uint8 RGB of a file that came back. Raises ``DeliveryError``."""
        try:
            image = Image.open(io.BytesIO(file), formats=("PNG", "JPEG", "WEBP"))
            pixels = np.asarray(image.convert("RGB"))
        except Exception as error:  # decoders raise anything
            reason = str(error).rstrip(".") or type(error).__name__
            raise DeliveryError(
                f"the {called(stage)} of {self.name} that came back cannot be decoded ({reason}); "
                f"ask for it as another format."
            ) from None
        if self._size is not None and pixels.shape != self._size:
            raise DeliveryError(
                f"the {called(stage)} of {self.name} has come back as {pixels.shape}, not "
                f"{self._size}; is the receiver of this version?"
            )
        return pixels

    def _picture(self, stage: Stage, timeout: float | None) -> Pixels:
        self.check(stage)
        return self.picture(stage, self._wait(self.pictures[stage], stage, timeout))

    def _wait(self, future: Future[Value], what: str, timeout: float | None) -> Value:
        try:
            return future.result(timeout)
        except Late:
            if future.done():  # what it holds is a TimeoutError: there is none of ours
                raise
            raise TimeoutError(
                f"the {called(what)} of {self.name} is not here after {timeout:g} s{self._why()}."
            ) from None

    # -- what the link says -----------------------------------------------------------------

    def heard(self, happened: Happened) -> None:
        if happened.row is not None:
            self._end(happened.row)
        elif happened.stage != "row" and not self.pictures[happened.stage].done():
            self.pictures[happened.stage].set_result(happened.picture)

    def fail(self, error: Exception) -> None:
        """The link has ended before the frame."""
        futures: list[Future[Any]] = [*self.pictures.values(), self.rows]
        for future in futures:
            if not future.done():
                future.set_exception(error)

    def _end(self, row: Mapping[str, Any]) -> None:
        reason = row.get("reason")
        for stage, future in self.pictures.items():
            if future.done():
                continue
            if row.get("status") != "delivered":
                what = f"{self.name} was not delivered ({row.get('status')}): {reason}"
            elif stage == "refined" and row.get("model") is None:
                what = f"{self.name} was not refined: the receiver makes previews alone"
            else:
                what = f"the {stage} of {self.name} was lost on its way back; its row is here"
            future.set_exception(DeliveryError(f"{what.rstrip('.')}."))
        self.rows.set_result(dict(row))
