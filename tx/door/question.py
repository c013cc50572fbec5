"""What a request for a frame asks, as its query says it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tx.door.limits import MAX_TIMEOUT_S
from tx.door.refusal import Refusal
from tx.flight import STAGES, Stage

WAITS = ("accepted", "row", *STAGES)
KEYS = ("snr_db", "cbr", "name", "wait", "timeout")
NAME = 200  # letters at most


def wrong(sentence: str) -> Refusal:
    return Refusal(400, "setting", sentence)


@dataclass(frozen=True)
class Question:
    """``timeout``: seconds, from the end of the body to the answer."""

    snr_db: float | None = None
    cbr: str = ""
    name: str = ""
    wait: str = "accepted"
    timeout: float = 60.0

    @property
    def stage(self) -> Stage | None:
        """The picture that is waited for."""
        return next((stage for stage in STAGES if stage == self.wait), None)

    @classmethod
    def of(cls, query: Sequence[tuple[str, str]]) -> Question:
        """Raises ``Refusal``: whatever is not understood is said, not passed over."""
        given = dict(query)
        if unknown := sorted(given.keys() - set(KEYS)):
            raise wrong(f"{unknown[0][:50]!r} is nothing that can be asked; use {', '.join(KEYS)}.")
        if len(given) < len(query):
            raise wrong("something in the query is given twice; give it once.")
        wait = given.get("wait", cls.wait)
        if wait not in WAITS:
            raise wrong(f"wait={wait[:50]!r} is not known; use one of {', '.join(WAITS)}.")
        timeout = number(given, "timeout")
        if timeout is None:
            timeout = cls.timeout
        if not 0 < timeout <= MAX_TIMEOUT_S:
            raise wrong(f"a timeout is more than 0 and at most {MAX_TIMEOUT_S:g} seconds.")
        name = checked_name(given.get("name", ""))
        return cls(number(given, "snr_db"), given.get("cbr", ""), name, wait, timeout)


def number(given: dict[str, str], key: str) -> float | None:
    text = given.get(key)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise wrong(f"{key}={text[:50]!r} is not a number.")
    return value


def checked_name(name: str) -> str:
    """Raises ``Refusal``."""
    if len(name) > NAME or not name.isprintable():
        raise wrong(f"a name has at most {NAME} letters, all of them printable.")
    return name
