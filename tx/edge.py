"""A transmitter as slow as a small board.

processor time of the encoder here -> its time there -> a quota, or a pause after each use

Work is measured in processor time: what else runs on this machine changes how long the encoder
takes, and hardly how much of it there is.
"""

from __future__ import annotations

import json
import logging
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median

import numpy as np

from simulator.edge import EdgeSettings
from simulator.errors import SettingsError
from simulator.jscc.signal import Signal, ToEncode
from simulator.link.clock import Clock, monotonic
from simulator.phy.state import ChannelState
from simulator.wholefile import write_whole
from tx.energy import Meter, find_meter
from tx.interface import Encoder
from tx.quota import MIN_CPUS, Group, make_group

SIZE = (512, 768)  # (H, W) px: ``encode_s`` is the time for an image of this size
REPEATS = 9
RECORD = "edge.json"

log = logging.getLogger("tx")


@dataclass(frozen=True)
class Measured:
    """The encoder on this machine, for an image of 768x512, of ``REPEATS`` uses."""

    seconds: float  # of the fastest: the one that was disturbed least
    busy_s: float  # processor time of all threads, the median

    @property
    def cpus(self) -> float:
        return self.busy_s / self.seconds


@dataclass(frozen=True)
class Applied:
    """What ``edge.json`` of the run folder says."""

    profile: str
    target_encode_s: float
    measured_encode_s: float  # before anything was slowed down
    measured_busy_s: float  # processor time of it
    slowed: float  # times, by the two above
    by: str  # quota, pause or nothing
    quota_cpus: float | None
    emulated_encode_s: float | None  # the same measurement again, slowed down
    memory_mb: int | None
    memory_by: str | None  # cgroup or rlimit
    energy: str | None  # rapl

    @property
    def note(self) -> str:
        """For the notes of a row."""
        name = f"edge {self.profile}".rstrip()
        if self.by == "nothing":
            return f"{name}: encoder not slowed down"
        how = "a quota" if self.by == "quota" else "pauses"
        what = f"{self.target_encode_s:.3g} s for 768x512"
        return f"{name}: encoder slowed down to {what} by {how}"


class EdgeEncoder:
    """An encoder that takes ``stretch`` seconds for each second of processor time, where that is
    longer than it takes anyway. ``joules``: of the last use, without the pause, None where nobody
    measures."""

    def __init__(
        self,
        inner: Encoder,
        stretch: float = 0.0,
        meter: Meter | None = None,
        clock: Clock = monotonic,
        busy: Clock = time.process_time,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._inner, self._stretch, self._meter = inner, stretch, meter
        self._clock, self._busy = clock, busy
        self._released = threading.Event()
        self._pause = pause or self._released.wait
        self.joules: float | None = None
        self.note = ""

    @property
    def rounds(self) -> int:
        return self._inner.rounds

    @property
    def ratios(self) -> tuple[Fraction, ...]:
        return self._inner.ratios

    def k(self, size: tuple[int, int], ratio: Fraction) -> int:
        return self._inner.k(size, ratio)

    def encode(self, given: ToEncode) -> Signal[np.ndarray]:
        if self._meter:
            self._meter.restart()
        began, busy = self._clock(), self._busy()
        signal = self._inner.encode(given)
        busy_s = self._busy() - busy
        self.joules = self._meter.joules() if self._meter else None
        left = self._stretch * busy_s - (self._clock() - began)
        if left > 0:
            self._pause(left)
        return signal

    def release(self) -> None:
        """End a pause that goes on, and make none any more: the process is to end."""
        self._released.set()


def measure(encoder: Encoder, ratio: Fraction, clock: Clock = monotonic) -> Measured:
    """Once to warm up, then ``REPEATS`` times, with an image of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    given = ToEncode(pixels, ChannelState(10.0), ratio)
    encoder.encode(given)
    walls, busy_s = [], []
    for _ in range(REPEATS):
        began, busy = clock(), time.process_time()
        encoder.encode(given)
        busy_s.append(max(time.process_time() - busy, 1e-6))
        walls.append(max(clock() - began, 1e-6))
    return Measured(min(walls), median(busy_s))


def emulate(
    settings: EdgeSettings, encoder: Encoder, ratio: Fraction, folder: Path | None
) -> EdgeEncoder | None:
    """The encoder as slow as the settings say; None where they say nothing.

    Limits hold for this process from here on. ``folder`` gets the record of it. Raises
    ``SettingsError`` for what this machine cannot do, and ``StorageError``.
    """
    if not (settings.encode_s or settings.memory_mb or settings.profile):
        return None
    measured = measure(encoder, ratio)
    slowed = settings.encode_s / measured.seconds if settings.encode_s else 1.0
    if settings.encode_s and slowed < 1:
        log.warning(
            "the encoder takes %.3g s here and %.3g s on %s: this machine is too slow for it, and "
            "nothing is slowed down",
            measured.seconds, settings.encode_s, settings.profile or "the board",
        )  # fmt: skip
    slowed = max(slowed, 1.0)
    cpus = measured.busy_s / settings.encode_s if slowed > 1 else measured.cpus
    group = group_for(settings, slowed, cpus)
    by_quota = group is not None and slowed > 1 and settings.by != "pause" and cpus >= MIN_CPUS
    memory_by = limit_memory(settings.memory_mb, group)
    meter = find_meter()
    by_pauses = slowed > 1 and not by_quota
    stretch = settings.encode_s / measured.busy_s if by_pauses else 0.0
    slow = EdgeEncoder(encoder, stretch, meter)
    if by_quota and group:
        group.limit(cpus, None)
    applied = Applied(
        profile=settings.profile,
        target_encode_s=settings.encode_s,
        measured_encode_s=measured.seconds,
        measured_busy_s=measured.busy_s,
        slowed=slowed,
        by="quota" if by_quota else "pause" if by_pauses else "nothing",
        quota_cpus=cpus if by_quota else None,
        emulated_encode_s=measure(slow, ratio).seconds if by_quota else None,
        memory_mb=settings.memory_mb or None,
        memory_by=memory_by,
        energy="rapl" if meter else None,
    )
    slow.note = applied.note
    log.info("%s (%.3g s here)", applied.note, measured.seconds)
    if folder is not None:
        write_whole(folder / RECORD, json.dumps(asdict(applied), indent=1, allow_nan=False) + "\n")
    return slow


def group_for(settings: EdgeSettings, slowed: float, cpus: float) -> Group | None:
    """The control group that the limits need. Raises ``SettingsError`` where a quota was asked for
    and cannot be had."""
    wanted = {"memory"} if settings.memory_mb else set()
    if settings.by != "pause" and slowed > 1 and cpus >= MIN_CPUS:
        wanted |= {"cpu"}
    group = make_group(wanted)
    if settings.by == "quota" and slowed > 1:
        why = ""
        if cpus < MIN_CPUS:
            why = f"a quota of {cpus:.2g} processors would starve the link"
        elif group is None:
            why = "this user may make no control group (cgroups v2) here"
        if why:
            raise SettingsError(f"tx.edge.by = 'quota' is not possible: {why}; take 'pause'.")
    return group


def limit_memory(megabytes: int, group: Group | None) -> str | None:
    """How the limit is kept. Raises ``SettingsError`` for less than what is used already."""
    if not megabytes:
        return None
    used = data_bytes()
    if used > megabytes * 1_000_000:
        raise SettingsError(
            f"tx.edge.memory_mb = {megabytes} is less than tx itself needs here, "
            f"{used / 1e6:.0f} MB with its encoder; give more, or leave it out."
        )
    if group is not None:
        group.limit(None, megabytes * 1_000_000)
        return "cgroup"
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes * 1_000_000, hard))
    return "rlimit"


def data_bytes(status: Path = Path("/proc/self/status")) -> int:
    """What RLIMIT_DATA counts of this process; 0 where the kernel does not tell."""
    try:
        lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("VmData:")]
    return 1024 * int(found[0]) if found else 0
