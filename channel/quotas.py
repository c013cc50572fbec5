"""How much of the channel one transmitter may take. Over its quota, its grants wait.

Nothing is refused and nothing lost by that: a grant is what tx needs before it encodes, so one
that comes later is back-pressure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simulator.settings import ChannelSettings

Quota = Literal["frames", "bytes", "rate"]


@dataclass
class Account:
    """Of one tx. ``credit``: grants that its rate allows now."""

    credit: float
    credited_at: float
    frames: int = 0
    nbytes: int = 0
    waiting: int = 0


class Quotas:
    """The accounts by name of tx; empty ones are forgotten."""

    def __init__(self, settings: ChannelSettings) -> None:
        self._frames = settings.client_frames
        self._bytes = settings.client_bytes
        self._rate_hz = settings.client_rate_hz
        # A second's worth at once: the channel looks ten times a second for whom it may serve.
        self._depth = max(1.0, self._rate_hz)
        self._waiting = 4 * (self._frames or settings.queue_frames)
        self.accounts: dict[str, Account] = {}
        self.met: dict[Quota, int] = {}  # how often a frame had to wait for one

    def obstacle(self, tx: str, now: float) -> Quota | None:
        """What keeps that tx from its next grant; None: nothing."""
        account = self._account(tx, now)
        if self._frames and account.frames >= self._frames:
            return "frames"
        if self._bytes and account.nbytes >= self._bytes:
            return "bytes"
        if self._rate_hz:
            earned = (now - account.credited_at) * self._rate_hz
            account.credit = min(self._depth, account.credit + earned)
            account.credited_at = now
            if account.credit < 1:
                return "rate"
        return None

    def meet(self, quota: Quota) -> None:
        """Count a frame that has to wait for it."""
        self.met[quota] = self.met.get(quota, 0) + 1

    def may_wait(self, tx: str, now: float) -> bool:
        """Has that tx room for one more frame that waits?"""
        return self._account(tx, now).waiting < self._waiting

    def wait(self, tx: str, now: float) -> None:
        self._account(tx, now).waiting += 1

    def grant(self, tx: str) -> None:
        """A frame that waited has its grant."""
        account = self.accounts[tx]
        account.waiting -= 1
        account.frames += 1
        account.credit -= 1

    def hold(self, tx: str, nbytes: int) -> None:
        """The symbols of a granted frame have come."""
        self.accounts[tx].nbytes += nbytes

    def drop(self, tx: str, waiting: bool, nbytes: int) -> None:
        """A frame is gone."""
        account = self.accounts[tx]
        if waiting:
            account.waiting -= 1
        else:
            account.frames -= 1
        account.nbytes -= nbytes

    def move(self, before: str, tx: str, waiting: bool, now: float) -> None:
        """A frame without symbols yet is asked for under another name."""
        self.drop(before, waiting, 0)
        account = self._account(tx, now)
        if waiting:
            account.waiting += 1
        else:
            account.frames += 1

    def forget_idle(self, now: float) -> None:
        """Accounts of nobody, whose rate has recovered."""
        for tx, account in list(self.accounts.items()):
            earned = (now - account.credited_at) * self._rate_hz
            recovered = not self._rate_hz or account.credit + earned >= self._depth
            if recovered and not (account.frames or account.nbytes or account.waiting):
                del self.accounts[tx]

    def _account(self, tx: str, now: float) -> Account:
        found = self.accounts.get(tx)
        if found is None:
            found = self.accounts[tx] = Account(self._depth, now)
        return found
