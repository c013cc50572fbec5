"""A transmitter that other threads give frames to, one by one.

send(array) -> Sent            in any thread
run(stop)                      in one: the socket, the ledger, and what comes back
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from simulator.air import LEAST_SNR_DB, MOST_SNR_DB
from simulator.errors import LinkClosed, SettingsError, path_from
from simulator.images import Picture, Pixels, check_pixels, file_sha256
from simulator.jscc.rates import parse_ratio
from simulator.link.clock import Clock, monotonic
from simulator.link.messages import WirePoint
from simulator.process import Stopper
from simulator.settings import Settings
from tx.flight import Happened
from tx.sent import Sent
from tx.service import TransmitterService
from tx.source import Job, one_point_of
from tx.stream import Stream, StreamClosed, sha256_of

Listen = Callable[[Happened], None]


class Link:
    """Frames of one source, sent as they come.

    ``settings``: of a run with a name; its ``tx.when_busy`` says whether ``send`` waits. With
    ``durable`` the ledger in ``folder`` keeps every frame until it has its row, through the end of
    this process. ``listen``: as for ``TransmitterService``. Raises as that does.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        durable: bool = True,
        retry_dead: bool = False,
        source: str = "client",
        listen: Listen = lambda happened: None,
        clock: Clock = monotonic,
    ) -> None:
        self._point = one_point_of(settings)
        self.upto = settings.tx.returns
        self._stream = Stream(source, settings.run, settings.seed)
        self._sent: dict[bytes, Sent] = {}
        self._listen = listen
        self.failure: Exception | None = None  # what has ended it
        self.service = TransmitterService(
            settings, folder, self._stream, retry_dead, clock, self._heard, durable
        )

    def send(
        self,
        image: Picture | Pixels | Path | str | bytes,
        snr_db: float | None = None,
        cbr: str = "",
        name: str = "",
        timeout: float | None = None,
    ) -> Sent:
        """Give one image to the link; waits where the link is slow, ``timeout`` seconds at most.

        ``image``: (H, W, 3) uint8 RGB, which is copied, the name of a file, its bytes, or what
        ``simulator.images`` has read of it.
        ``snr_db``, ``cbr``: those of the settings where they are not given. ``name``: in rows and
        file names. Raises
        ``TimeoutError``, and then the frame is not sent; ``SettingsError``, ``ImageError``, and
        whatever has ended the link.
        """
        content: Picture | Pixels | bytes | Path
        if "\0" in name:  # the ledger would keep the frame, and no file could be written for it
            raise SettingsError(f"{name!r} is no name of a picture: leave the NUL character out.")
        if isinstance(image, str | Path):
            content = path_from(image).absolute()
            sha256 = file_sha256(content)
        elif isinstance(image, bytes):
            content, sha256 = image, hashlib.sha256(image).digest()
        elif isinstance(image, Picture):
            content, sha256 = image, image.sha256
        else:
            check_pixels(image)
            content = np.array(image, order="C")
            sha256 = sha256_of(content)
        point = self._at(snr_db, cbr)
        made: list[Sent] = []

        def expect(job: Job) -> None:
            made.append(Sent(job, self.upto, self.why))
            self._sent[job.frame_id] = made[0]

        try:
            self._stream.put(content, sha256, point, name, timeout, expect)
        except TimeoutError as error:
            self._forget(made)
            raise TimeoutError(
                f"the link takes no frame within {timeout:g} s{self.why()}."
            ) from error
        except StreamClosed:
            self._forget(made)
            raise self.failure or LinkClosed("the link is closed: it takes no frames.") from None
        return made[0]

    def _forget(self, made: list[Sent]) -> None:
        for sent in made:
            self._sent.pop(sent.key, None)

    def _at(self, snr_db: float | None, cbr: str) -> WirePoint:
        """The operating point of a frame. Raises ``SettingsError``."""
        point = self._point
        if snr_db is not None:
            if not LEAST_SNR_DB <= snr_db <= MOST_SNR_DB:
                limits = f"{LEAST_SNR_DB} to {MOST_SNR_DB}"
                raise SettingsError(f"an SNR of {snr_db:g} dB; give {limits}.")
            point = replace(point, snr_db=float(snr_db))
        if not cbr:
            return point
        ratio = parse_ratio(cbr)
        self.service.check_ratio(ratio)
        return replace(point, bandwidth_ratio=str(ratio))

    # -- the thread of the socket ------------------------------------------------------------

    def run(self, stop: Stopper, why: Callable[[], Exception | None] = lambda: None) -> bool:
        """Send what is given until the link is closed and all has its row (True), or ``stop``.

        ``why``: the error for which it was stopped, if it was for one. Raises as
        ``TransmitterService.run`` does; every wait for a frame ends with the same error.
        """
        try:
            done = self.service.run(stop)
            self.failure = why()
            return done
        except Exception as error:
            self.failure = error
            raise
        finally:
            self._stream.abandon()
            ended = LinkClosed("the link was stopped before this frame had its row.")
            for sent in list(self._sent.values()):
                sent.fail(self.failure or ended)
            self._sent.clear()

    def finish(self) -> None:
        """No frame more; what was given is sent."""
        self._stream.close()

    def close(self) -> None:
        """After ``run``."""
        self.service.close()

    @property
    def ready(self) -> bool:
        """Whether there are receivers for what is sent."""
        return not self.service.transmitter.wait_receivers

    @property
    def waiting_for(self) -> str | None:
        """What keeps frames here; None where nothing does."""
        return self.service.waiting_for

    def why(self) -> str:
        """The same, to be put behind a sentence; empty where nothing does."""
        reason = self.waiting_for
        return f" ({reason})" if reason else ""

    def _heard(self, happened: Happened) -> None:
        sent = self._sent.get(happened.frame_id)
        if sent is not None:
            sent.heard(happened)
            if happened.row is not None:
                del self._sent[happened.frame_id]
        self._listen(happened)
