"""Who watches the channel, and what they are answered. No sockets.

A page asks, and gets one VIEW for it. Nothing is sent unasked, and nothing before the page has
shown that it has the VIEW before: a slow page costs its own frames and no memory here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from channel.watched import Watched
from simulator.link import constants as c
from simulator.link import watching as w
from simulator.link.messages import ENCODER, WireError

MAX_ONLOOKERS = 8
STALLED_S = 15.0  # one that takes nothing is cut off before (``AT_THE_DOOR``)
MAX_FLYING_BYTES = 8 * 2**20  # of pictures that are on their way to all pages together
ROOM = w.MAX_VIEW_BYTES - 8 * 1024  # of a VIEW, for frames: the rest is for what else it says

Send = Callable[[bytes, list[Any]], bool]
StatusOf = Callable[[int], w.Status]  # the argument: how many pages there are
Count = Callable[[str], None]


@dataclass
class Onlooker:
    word: bytes = b""
    seen_at: float = 0.0
    flying: int = 0  # bytes of a picture that it may not have yet


class Onlookers:
    """``send``: False where nothing can be sent to that one now. ``count``: of refusals."""

    def __init__(
        self, epoch: str, watched: Watched, status: StatusOf, send: Send, count: Count
    ) -> None:
        self._epoch, self._watched, self._status = epoch, watched, status
        self._send, self._count = send, count
        self.here: dict[bytes, Onlooker] = {}

    def tick(self, now: float) -> None:
        """Forget those who have not asked for a while."""
        for identity, onlooker in list(self.here.items()):
            # What is on its way is counted until it has come, or its connection is gone.
            patience = STALLED_S if onlooker.flying else c.SILENCE_S
            if now - onlooker.seen_at > patience:
                del self.here[identity]
        if not self.here and self._watched.watched:
            self._watched.alone()

    def receive(self, identity: bytes, raw: list[bytes], now: float) -> None:
        """One message from a page. What is no LOOK is counted, and not answered."""
        try:
            look = w.decode_look(raw)
        except WireError as error:
            self._count(f"watch-{error.code}")
            if error.code == "version":
                self._refuse(identity, f"This channel speaks version {w.VERSION} of watching; "
                             f"install the same release on both.")  # fmt: skip
            return
        onlooker = self.here.get(identity)
        if onlooker is None:
            if len(self.here) >= MAX_ONLOOKERS:
                self._count("watch-full")
                self._refuse(identity, f"{MAX_ONLOOKERS} pages watch this channel already.")
                return
            onlooker = self.here[identity] = Onlooker()
            self._watched.watched = True
        elif look.word != onlooker.word:  # it has not read the last VIEW, or never will
            self._count("watch-unread")
            return
        onlooker.seen_at, onlooker.flying = now, 0
        self._answer(identity, onlooker, look)

    def _answer(self, identity: bytes, onlooker: Onlooker, look: w.Look) -> None:
        after = look.after if look.epoch == self._epoch else 0
        frames: list[w.Passed] = []
        more, size = False, 0
        for frame in self._watched.after(after):
            size += len(ENCODER.encode(frame))
            if frames and size > ROOM:
                more = True
                break
            frames.append(frame)
        picture = self._watched.picture(look.picture) if look.picture else b""
        late = sum(each.flying for each in self.here.values()) + len(picture) > MAX_FLYING_BYTES
        view = w.View(
            version=w.VERSION,
            epoch=self._epoch,
            word=secrets.token_bytes(16),
            after=frames[-1].change if frames else after,
            more=more,
            status=self._status(len(self.here)),
            frames=frames,
            picture=None if late else look.picture,
        )
        picture = b"" if late else picture
        if self._send(identity, w.encode(view, picture)):
            onlooker.word, onlooker.flying = view.word, len(picture)

    def _refuse(self, identity: bytes, reason: str) -> None:
        self._send(identity, w.encode(w.View(version=w.VERSION, refused=reason), b""))
