"""What the door says no with: a status, a reason that is counted, and one sentence."""

from __future__ import annotations

from typing import Any, Literal

Reason = Literal[
    "http", "connections", "host", "origin", "token", "path", "method", "setting", "kind", "size",
    "slow", "busy", "memory", "image", "link", "late", "undelivered", "closing", "gone", "defect",
]  # fmt: skip
RETRY_S = 1  # of Retry-After, where trying again may help


class Refusal(Exception):
    """``more``: what its JSON says besides ``error``."""

    def __init__(
        self,
        status: int,
        reason: Reason,
        sentence: str,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(sentence)
        self.status, self.reason, self.headers = status, reason, headers or {}
        self.body = {"error": " ".join(sentence.split()), **more}


def later(status: int, reason: Reason, sentence: str, **more: Any) -> Refusal:
    """One that may be gone when it is tried again."""
    return Refusal(status, reason, sentence, {"Retry-After": str(RETRY_S)}, **more)


class Gone(Exception):
    """The client has gone: there is nobody to answer."""
