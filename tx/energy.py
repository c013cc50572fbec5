"""Energy of this machine's processors, where the kernel tells it (RAPL through powercap)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
JOULES = 1e-6  # of the unit of its files


@dataclass(frozen=True)
class Zone:
    """One processor package. Its counter begins again at 0 behind ``span``, in microjoules."""

    counter: Path
    span: int

    def read(self) -> int:
        return int(self.counter.read_text(encoding="ascii"))


class Meter:
    """Of all packages together: whatever else runs on them is in it. Raises ``OSError`` and
    ``ValueError`` where they cannot be read."""

    def __init__(self, zones: list[Zone]) -> None:
        self._zones = zones
        self._before = [zone.read() for zone in zones]

    def restart(self) -> None:
        self._before = [zone.read() for zone in self._zones]

    def joules(self) -> float:
        """Since the last restart."""
        used = (
            (zone.read() - before) % (zone.span + 1)
            for zone, before in zip(self._zones, self._before, strict=True)
        )
        return JOULES * sum(used)


def find_meter(root: Path = POWERCAP) -> Meter | None:
    """None where this machine has no counter, or none that this user may read."""
    zones = []
    try:
        for folder in sorted(root.glob("intel-rapl:*")):
            if (folder / "name").read_text(encoding="ascii").startswith("package"):
                span = int((folder / "max_energy_range_uj").read_text(encoding="ascii"))
                zones.append(Zone(folder / "energy_uj", span))
        return Meter(zones) if zones else None
    except (OSError, ValueError):
        return None
