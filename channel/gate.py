"""Who comes through the doors of a keyed channel, and who no longer does.

    handshake   the ZAP handler asks: does this key open this door now?
    a message   comes with the key of its connection, and is asked the same again

so that a revoked key is out from the next message on: what it still sends is counted and dropped
before anything looks into it, and its connection is cut.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal

import zmq

from simulator.errors import KeysError, path_from
from simulator.link import sockets
from simulator.link.admission import Admission
from simulator.link.clock import Clock
from simulator.link.keyfolder import read_channel
from simulator.link.keys import KeyFileError, PublicKey, Role
from simulator.link.zap import ZapHandler

LOOK_S = 0.1  # how often the key folder is looked at
SAY_S = 1.0  # at most one line about strangers in so many seconds: they must not fill the log
Door = Literal["front", "back", "watch"]
ROLE_OF: dict[Door, Role] = {"front": "tx", "back": "rx", "watch": "watch"}
ROLES: dict[str, Role] = {role: role for role in ROLE_OF.values()}  # by the domain of a door

log = logging.getLogger("channel")


class Gate:
    """To be made before the doors are bound. Raises ``KeysError``."""

    def __init__(
        self, context: zmq.Context[Any], folder: str, count: Callable[[str], None], clock: Clock
    ) -> None:
        path = path_from(folder)
        try:
            self._pair = read_channel(path)
        except KeyFileError as error:
            raise KeysError(str(error)) from None
        self._count, self._clock = count, clock
        self._admission = Admission(path, log.warning)
        self._looked_at = clock()
        self._news = False
        self._said_at = -SAY_S
        self.zap = ZapHandler(context, self._admit)
        log.info(
            "keys of %d tx and %d rx are admitted; the channel's own is %s",
            self._admission.count("tx"), self._admission.count("rx"), self._pair.fingerprint,
        )  # fmt: skip

    def lock(self, side: Door) -> sockets.Lock:
        return sockets.Lock(ROLE_OF[side], self._pair.secret)

    def _admit(self, domain: str, public: str, address: str) -> bool:
        self._look(thorough=False)
        role = ROLES.get(domain)
        if role and self._admission.holder(role, public):
            return True
        self._count("key")
        now = self._clock()
        if now - self._said_at >= SAY_S:
            self._said_at = now
            key = PublicKey(role or "channel", "?", public)
            log.warning("a key from %s does not open the door of %s: %s", address, domain,
                        key.fingerprint)  # fmt: skip
        return False

    def changed(self) -> bool:
        """Look at the folder now and then; True where somebody was added or revoked."""
        now = self._clock()
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            self._look(thorough=True)
        news, self._news = self._news, False
        return news

    def _look(self, thorough: bool) -> None:
        # A handshake looks, too: what it finds is news to the broker all the same.
        self._news |= self._admission.refresh(thorough)

    def holder(self, side: Door, public: str) -> PublicKey | None:
        """Whose key it is, if it opens that door now."""
        return self._admission.holder(ROLE_OF[side], public)

    def receive(self, side: Door, door: zmq.Socket[bytes]) -> tuple[list[bytes], PublicKey] | None:
        """The next message of somebody admitted; the others' are dropped and cut off."""
        for _ in range(sockets.BURST):
            arrival = sockets.receive_known(door)
            if arrival is None:
                return None
            holder = self.holder(side, arrival.public)
            if holder is not None:
                return arrival.parts, holder
            self._count("revoked")
            sockets.cut(door, arrival)
        return None

    def close(self) -> None:
        self.zap.close()
