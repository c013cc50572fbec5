"""Receivers that plugins add, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor

    from simulator.jscc.csi import Csi

    Refine = Callable[[Tensor, Csi], Tensor]


@dataclass(frozen=True)
class Receiver:
    """``make(device)`` -> ``refine(preview, csi)``: (B, 3, H, W) in [0, 1] and its channel states
    -> images of the same size. ``source_sha256``: of the file that it stands in."""

    make: Callable[[str], Refine]
    source_sha256: str


RECEIVERS: dict[str, Receiver] = {}


def find_receiver(name: str) -> Receiver:
    """Raises ``SettingsError``."""
    if name not in RECEIVERS:
        known = ", ".join(RECEIVERS) or "none"
        raise SettingsError(
            f"there is no receiver {name!r}; plugins have {known}: name its file with --plugin, or "
            f"leave rx.receiver out."
        )
    return RECEIVERS[name]


def fingerprint_of(name: str) -> str:
    """As rows name a receiver. Raises ``SettingsError`` for one that there is not."""
    return f"{name}-{find_receiver(name).source_sha256[:12]}"
