"""A channel that runs, as a page shows it: asked at its door for watching (``channel.watch``).

    LOOK -> VIEW: frames as they are now, what the channel holds -> Frame, State
                  a picture, one a LOOK                          -> WebP

Pictures are those that go back to tx through the channel. The others stay where they were made, and
the page says so.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np

from simulator.connection import Connection
from simulator.errors import AddressError, RejectedError
from simulator.link import watching as w
from simulator.link.clock import Clock, monotonic
from simulator.link.messages import WireError
from simulator.link.rows import ROW_KEYS, Row, make_row
from simulator.report.sources import RUN_NUMBERS, typed
from simulator.report.watch import LivePage
from simulator.watch.frames import KEPT
from simulator.watch.pictures import Pictures
from simulator.watch.source import Frame, Known, State
from simulator.watch.symbols import points_of

ROUND_S = 0.8  # of one look: a picture, or more frames, are another question each
ANSWER_S = 3.0  # without an answer the question is put again, and the page says so
POLL_MS = 50
KEPT_BYTES = 64 * 2**20  # of pictures as they came
NO_ORIGINAL = "originals stay at tx"
AT_RX = "pictures stay at rx, unless tx asks for them with --return"
PREVIEW_ALONE = "refined pictures stay at rx, unless tx has --return refined"
TOO_LARGE = (
    f"more than {w.MAX_PICTURE_BYTES >> 20} MiB, too much for the channel to keep; with "
    f"tx.return_format = jpeg it is smaller"
)
STATES: dict[w.State, str] = {
    "at rx": "at rx",
    "preview": "preview at rx",
    "refined": "refined at rx",
    "stored": "stored at rx",
    "delivered": "delivered",
    "failed": "failed",
}
NOT_THE_DOOR = (
    "what answers at {endpoint} is no door for watching; it is where the channel's setting "
    "channel.watch says"
)


class ChannelLink:
    """Asks, without waiting for long. One thread at a time. Raises ``AddressError`` and
    ``KeysError``."""

    def __init__(self, endpoint: str, keys: str, clock: Clock) -> None:
        self.endpoint, self._clock = endpoint, clock
        self._connection = Connection("watch", "page", endpoint, keys, w.AT_THE_PAGE)
        self._word, self._asked_at = b"", -ANSWER_S
        self._open = False  # a question is on its way
        self.trouble = ""

    def ask(self, look: w.Look, until: float) -> tuple[w.View, bytes] | None:
        """The answer, if there is one by then. Raises ``RejectedError`` and ``AddressError``."""
        now = self._clock()
        if not self._open or now - self._asked_at > ANSWER_S:
            asked = w.encode(_with_word(look, self._word))
            self._open, self._asked_at = self._connection.send_parts(asked), now
        while True:
            self._connection.look(self._clock())
            raw = self._connection.receive()
            if raw is not None:
                self._open = False
                return self._heard(raw)
            if self._clock() >= until:
                self.trouble = self._connection.problem or self.trouble
                return None
            self._connection.socket.poll(POLL_MS)

    def _heard(self, raw: list[bytes]) -> tuple[w.View, bytes] | None:
        try:
            view, part = w.decode_view(raw)
        except WireError:
            self.trouble = NOT_THE_DOOR.format(endpoint=self.endpoint)
            return None
        self.trouble = view.refused.rstrip(".")
        if view.refused:
            return None
        self._word = view.word
        return view, part

    def close(self) -> None:
        self._connection.close()


def _with_word(look: w.Look, word: bytes) -> w.Look:
    return w.Look(
        version=look.version, word=word, epoch=look.epoch, after=look.after, picture=look.picture
    )


class WatchedChannel(Known):
    """``keys``: the folder of a page's keys; empty where the channel has none. Raises as
    ``ChannelLink`` does."""

    report: LivePage | None = None

    def __init__(self, endpoint: str, keys: str = "", clock: Clock = monotonic) -> None:
        super().__init__(State({}, None, 0, False, {}, "nothing has been heard yet"))
        self.title = f"channel {endpoint.removeprefix('tcp://')}"
        self._clock = clock
        self._link = ChannelLink(endpoint, keys, clock)
        self._looking = threading.Lock()
        self._frames: OrderedDict[str, tuple[Frame, w.Passed]] = OrderedDict()
        self._files: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._files_bytes = 0
        self._made = Pictures()
        self._epoch, self._after, self._seq = "", 0, 0
        self._heard_at: float | None = None

    # -- asking ------------------------------------------------------------------------------

    def greet(self) -> None:
        """A first look. Raises ``RejectedError`` and ``AddressError`` where the channel says no."""
        with self._looking:
            answer = self._link.ask(self._question(), self._clock() + ANSWER_S)
            if answer is not None:
                self._take(*answer)
            self._tell(self._link.trouble)

    def look(self) -> None:
        """What goes wrong from now on is shown: it may go right again."""
        with self._looking:
            try:
                self._round()
                self._tell(self._link.trouble)
            except (RejectedError, AddressError) as error:
                self._tell(str(error).rstrip("."))

    def _round(self) -> None:
        until, more = self._clock() + ROUND_S, True
        while more and self._clock() < until:
            answer = self._link.ask(self._question(), until)
            more = answer is not None and self._take(*answer)

    def _question(self) -> w.Look:
        return w.Look(
            version=w.VERSION, epoch=self._epoch, after=self._after, picture=self._wanted()
        )

    def _wanted(self) -> w.PictureOf | None:
        """Of the newest frames first."""
        for key, (_, passed) in reversed(self._frames.items()):
            for stage in passed.pictures:
                if (key, stage) not in self._files:
                    return w.PictureOf(frame_id=passed.frame_id, stage=stage)
        return None

    def _take(self, view: w.View, part: bytes) -> bool:
        """Whether there is more to ask for."""
        self._heard_at = self._clock()
        with self._lock:
            if view.epoch != self._epoch:  # another channel process counts anew
                self._epoch = view.epoch
                self._frames.clear()
            self._after = view.after
            for passed in view.frames:
                self._put(passed)
            if view.picture is not None:
                self._got(view.picture, part)
            if view.status is not None:
                self._state = state_of(view.status)
            return view.more or self._wanted() is not None

    def _put(self, passed: w.Passed) -> None:
        self._seq += 1
        key = passed.frame_id.hex()
        known = self._frames.get(key)
        self._frames[key] = (self._frame(key, passed), passed)
        if known is None and len(self._frames) > KEPT:
            gone, _ = self._frames.popitem(last=False)
            for stage in ("preview", "refined"):
                self._files_bytes -= len(self._files.pop((gone, stage), b""))

    def _frame(self, key: str, passed: w.Passed) -> Frame:
        row = row_of(passed)
        here = tuple(stage for stage in passed.pictures if (key, stage) in self._files)
        return Frame(self._seq, passed.number, key, row, here, absent_of(passed))

    def _got(self, picture: w.PictureOf, part: bytes) -> None:
        """Empty: the channel does not have it any more, and it is asked for no more."""
        key, stage = picture.frame_id.hex(), picture.stage
        if key not in self._frames:
            return
        self._files_bytes -= len(self._files.pop((key, stage), b""))
        self._files[key, stage] = part
        self._files_bytes += len(part)
        while self._files_bytes > KEPT_BYTES:
            self._files_bytes -= len(self._files.popitem(last=False)[1])
        if part:
            self._seq += 1
            passed = self._frames[key][1]
            self._frames[key] = (self._frame(key, passed), passed)

    def _tell(self, trouble: str) -> None:
        late = self._heard_at is None or self._clock() - self._heard_at > ANSWER_S
        with self._lock:
            if not late and not trouble:
                return
            told = trouble or f"the channel at {self._link.endpoint} does not answer"
            self._state = State(**{**vars(self._state), "trouble": told})

    # -- what is shown -----------------------------------------------------------------------

    def _kept(self) -> Iterable[Frame]:
        return (frame for frame, _ in self._frames.values())

    def picture(self, key: str, stage: str, side: int) -> bytes | None:
        with self._lock:
            part = self._files.get((key, stage), b"")
        return self._made.of_bytes(part, side) if part else None

    def symbols(self, key: str) -> dict[str, Any] | None:
        with self._lock:
            found = self._frames.get(key)
        return None if found is None else clouds_of(found[1])

    def close(self) -> None:
        with self._looking:
            self._link.close()


def row_of(passed: w.Passed) -> Row:
    """What is known of a frame, as a row: typed, whatever the channel and rx say."""
    known = {**passed.values, **passed.heard}
    row = make_row(**{key: known[key] for key in ROW_KEYS if key in known})
    row |= {"frame_id": passed.frame_id.hex(), "status": STATES[passed.state]}
    if passed.reason:
        row["reason"] = passed.reason
    return typed(row, ROW_KEYS, RUN_NUMBERS)


def absent_of(passed: w.Passed) -> dict[str, str]:
    """Why there is no picture of a stage."""
    returns = passed.heard.get("returns")
    words = {"sent": NO_ORIGINAL}
    if not returns:
        words |= {"preview": AT_RX, "refined": AT_RX}
    elif returns == "preview":
        words["refined"] = PREVIEW_ALONE
    return words | dict.fromkeys(passed.too_large, TOO_LARGE)


def state_of(status: w.Status) -> State:
    says = {
        "channel": f"{status.passed_on} frames passed on, {status.waiting} wait for a grant, "
        f"{status.admitted} have one, {status.returning} between rounds, {status.queued} queued "
        f"for rx; {status.held_bytes / 1e6:.1f} MB held",
        "tx": named(status.tx, status.tx_count),
        "rx": named(
            [f"{each.name} (holds {each.holds} of {each.slots})" for each in status.rx],
            status.rx_count,
        ),
    }
    if status.refused:
        told = sorted(status.refused.items())
        says["refused"] = ", ".join(f"{count} {code}" for code, count in told)
    counts = {STATES[state]: count for state, count in status.states.items() if count}
    return State(counts, None, 0, False, says)


def named(names: list[str], count: int) -> str:
    if not count:
        return "none is connected"
    more = count - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def clouds_of(passed: w.Passed) -> dict[str, Any]:
    """Of the symbols that came with a frame, as ``Symbols`` says them."""
    if not passed.symbols or len(passed.symbols) % 8:
        return {"why": "the channel has no symbols of this frame"}
    received = np.frombuffer(passed.symbols, "<c8")
    if not np.isfinite(received.view("<f4")).all():
        return {"why": "the channel sent symbols that are not finite"}
    clouds = {"received": received}
    gain = complex(*passed.gain) if len(passed.gain) == 2 else 0
    if abs(gain) > 1e-6 and gain != 1:
        clouds["divided by h"] = received / np.complex64(gain)
    values = passed.heard.get("k")
    told = f"{len(received)} of {values} received values, as they left the channel."
    return {
        "clouds": {name: points_of(points) for name, points in clouds.items()},
        "levels": [],
        "told": told,
    }
