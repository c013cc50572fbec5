"""What ``evaluate`` finds at one operating point and stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulator.link.rows import POINT
from simulator.metrics.interval import Estimate
from simulator.metrics.known import every_metric


@dataclass(frozen=True)
class Line:
    """One operating point and stage: ``images`` that arrived, in ``sent`` frames, ``perfect`` of
    which have no error.

    ``metrics``: by key, as they are declared. What is undefined or was
    not measured is absent.
    """

    channel: str
    cbr: str
    snr_db: float | None
    stage: str
    images: int
    sent: int
    perfect: int
    metrics: Mapping[str, Estimate]

    def flat(self) -> dict[str, Any]:
        """For the files: ``psnr``, ``psnr_low``, ``psnr_high`` ...; null where there is none."""
        found: dict[str, Any] = {key: getattr(self, key) for key in (*POINT, "stage", "images")}
        found |= {"sent": self.sent, "perfect": self.perfect}
        for key in every_metric():
            estimate = self.metrics.get(key)
            found[key] = estimate.value if estimate else None
            found[f"{key}_low"] = estimate.low if estimate else None
            found[f"{key}_high"] = estimate.high if estimate else None
            found[f"{key}_images"] = estimate.images if estimate else 0
        return found
