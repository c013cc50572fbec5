"""Who may come in: no page of another site, no name that was turned to this machine, no stranger.

A browser on this machine can reach the loopback address for any page that it shows. It names that
page in ``Origin``. ``Host`` shows a page whose own name was made to lead here (DNS rebinding).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulator.address import is_loopback, split_address
from tx.door.refusal import Refusal


@dataclass(frozen=True)
class Guard:
    """``token``: empty where none is wanted; ``loopback``: whether the door is bound to that."""

    token: str = field(repr=False)
    loopback: bool

    def check(self, headers: Mapping[str, str]) -> None:
        """Raises ``Refusal``."""
        host = headers.get("host", "")
        if self.loopback and not is_loopback(split_address(host)[0]):
            raise Refusal(403, "host", "this door answers to the names of its own machine alone.")
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}".lower():
            raise Refusal(403, "origin", "this door takes nothing from pages of other sites.")
        if self.token and not self._shown(headers.get("authorization", "")):
            raise Refusal(
                401,
                "token",
                "the token is missing or wrong; send the header Authorization: Bearer TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )

    def _shown(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        same = hmac.compare_digest(token.strip().encode(), self.token.encode())
        return same and scheme.lower() == "bearer"
