"""A link from Python: arrays in, previews, refined images and rows back.

from simulator import connect

with connect("tcp://127.0.0.1:5550") as link:
    sent = link.send(array, snr_db=10, cbr="1/96")
    preview = sent.preview(timeout=10)    # (H, W, 3) uint8
    refined = sent.refined(timeout=60)
    row = sent.row()
"""

from __future__ import annotations

import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from simulator.claim import claimed
from simulator.images import Picture, Pixels
from simulator.plugins import with_plugins
from simulator.prepare import Run, absolute, with_ratio
from simulator.process import Stopper
from simulator.report.closing import finish
from simulator.runfolder import fingerprints, name_run, write_run_file
from simulator.settings import Settings, make_settings
from tx.link import Link
from tx.sent import Sent

Upto = Literal["none", "preview", "refined"]
WhenBusy = Literal["wait", "latest"]
Fail = Callable[[Exception], None]
#: What stands around a link: of settings, a folder and whom to tell of an end, the settings of tx.
Around = Callable[[Settings, Path, Fail], AbstractContextManager[Settings]]


def nothing_around(
    settings: Settings, folder: Path, fail: Fail
) -> AbstractContextManager[Settings]:
    """The other machines are started by somebody else."""
    return nullcontext(settings)


class Client:
    """A ``Link`` whose socket has a thread of its own, with its run folder; made by ``connect``.

    ``folder``: the run folder, None where the link is not durable.
    """

    def __init__(
        self,
        settings: Settings,
        durable: bool = True,
        around: Around = nothing_around,
    ) -> None:
        settings = with_ratio(absolute(name_run(settings)))
        self._stop = Stopper()
        self._stopping = threading.Lock()
        self._failure: Exception | None = None  # of what stands around the link
        with ExitStack() as stack:
            folder = self._open(stack, with_plugins(settings), durable)
            self.folder = folder if durable else None
            self.settings = stack.enter_context(around(settings, folder, self._fail))
            if durable:
                stack.callback(finish, folder, {}, settings.tx.roll_bytes)
            self._link = Link(self.settings, folder, durable)
            stack.callback(self._link.close)
            self._thread = threading.Thread(target=self._run, name="link", daemon=True)
            self._thread.start()
            self._stack = stack.pop_all()

    def _open(self, stack: ExitStack, settings: Settings, durable: bool) -> Path:
        """The run folder, which is ours until the link is closed; or one that goes with it."""
        made_with = fingerprints(settings)
        if durable:
            folder = stack.enter_context(claimed(Run(settings, (), made_with)))
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="diffjscc-")))
        write_run_file(settings.model_copy(update={"out": str(folder)}), folder, made_with)
        return folder

    def _fail(self, error: Exception) -> None:
        """What stands around the link has ended."""
        self._failure = error
        self._stop.stop()

    def _run(self) -> None:
        with suppress(Exception):  # send, close and every wait raise it
            self._link.run(self._stop, lambda: self._failure)

    def send(
        self,
        image: Picture | Pixels | Path | str | bytes,
        snr_db: float | None = None,
        cbr: str = "",
        name: str = "",
        timeout: float | None = None,
    ) -> Sent:
        """As ``Link.send``."""
        return self._link.send(image, snr_db, cbr, name, timeout)

    def stream(
        self, images: Iterable[Picture | Pixels | Path | str | bytes], ahead: int = 8, **point: Any
    ) -> Iterator[Sent]:
        """Send all of them and give each back, in order, when it has its row.

        ``ahead``: frames at most that are under way when the next is waited for; ``point``:
        ``snr_db`` and ``cbr`` of ``send``.
        """
        under_way: deque[Sent] = deque()
        for image in images:
            under_way.append(self.send(image, **point))
            while under_way and (under_way[0].done or len(under_way) > ahead):
                under_way[0].row()
                yield under_way.popleft()
        for sent in under_way:
            sent.row()
            yield sent

    def close(self, timeout: float | None = None) -> None:
        """Wait until every frame that was sent has its row, ``timeout`` seconds at most.

        Raises what has ended the link before, and ``TimeoutError``; what is left over is sent by
        the next link of the same run, if it is durable.
        """
        self._link.finish()
        self._thread.join(timeout)
        late = self._thread.is_alive()
        why = self._link.why()
        self.stop()
        if self._link.failure is not None:
            raise self._link.failure
        if late:
            raise TimeoutError(f"frames are under way after {timeout:g} s{why}.")

    def stop(self) -> None:
        """End at once, whatever is under way."""
        with self._stopping:
            self._stop.stop()
            self._thread.join()
            self._stack.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.stop()


def connect(
    channel: str = "",
    *,
    keys: str | Path = "",
    codec: str = "",
    name: str = "",
    out: str | Path = "",
    returns: Upto = "refined",
    when_busy: WhenBusy = "wait",
    durable: bool = True,
    config: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Client:
    """A link to a channel that runs, and through it to whatever receivers are there.

    ``channel``: its address for transmitters; ``keys``: the folder of ``diffjscc keys init tx``;
    ``codec``: a shipped name or a folder, the receiver's own; ``name``: of this transmitter, one
    for each link to a channel; ``out``: the run folder, runs/TIME-client if there is none;
    ``returns``: which pictures come back. ``when_busy``: "wait" makes ``send`` wait for the link,
    "latest" sends the newest and drops what waits. Without ``durable`` there is no run folder: what
    is under way ends with this process. ``config`` and ``settings`` (``{"tx.runtime": "torch"}``):
    everything else. Raises ``DiffJsccError``.
    """
    given = {
        "tx.connect": channel, "tx.keys": str(keys), "codec": codec, "tx.name": name,
        "out": str(out),
    }  # fmt: skip
    overrides = {"name": "client", "tx.window": 2} if config is None else {}
    overrides |= {key: value for key, value in given.items() if value}
    overrides |= {"tx.returns": returns, "tx.when_busy": when_busy, **(settings or {})}
    return Client(make_settings(config, overrides=overrides), durable)
