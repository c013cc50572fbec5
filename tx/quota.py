"""Limits of this process's processor time and memory, by a control group of its own.

Version 2 of cgroups only. The group lies beside the one that the process is in, or below the root,
where the controllers are delegated to this user; elsewhere there is no quota.
"""

from __future__ import annotations

import os
from pathlib import Path

PERIOD_US = 100_000
MIN_CPUS = 0.05  # below, the loop of the process would starve, and its peers take it for dead
MOUNTS, OWN = Path("/proc/self/mounts"), Path("/proc/self/cgroup")


def mounted(mounts: Path = MOUNTS) -> Path | None:
    """Where version 2 is mounted."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.split()[2] == "cgroup2"]
    return Path(found[0]) if found else None


def parents(root: Path, own: Path = OWN) -> list[Path]:
    """Groups below which one may be made, the nearest first."""
    lines = own.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    path = next((line[3:] for line in lines if line.startswith("0::")), "/")
    beside = root / path.lstrip("/")
    return [beside.parent, root] if path != "/" else [root]


class Group:
    """A control group with this process in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def limit(self, cpus: float | None, memory_bytes: int | None) -> None:
        """Raises ``OSError``."""
        if cpus is not None:
            (self.folder / "cpu.max").write_text(
                f"{round(cpus * PERIOD_US)} {PERIOD_US}", encoding="ascii"
            )
        if memory_bytes is not None:
            (self.folder / "memory.max").write_text(str(memory_bytes), encoding="ascii")


def make_group(
    controllers: set[str], root: Path | None = None, own: Path = OWN, pid: int | None = None
) -> Group | None:
    """A new group with these controllers, which this process has entered; None where it may not.

    It is empty, and may be removed, when the process has ended.
    """
    root = root or mounted()
    if root is None or not controllers:
        return None
    pid = pid or os.getpid()
    for parent in parents(root, own):
        folder = parent / f"diffjscc-tx-{pid}"
        try:
            if not controllers <= set(
                (parent / "cgroup.subtree_control").read_text(encoding="ascii").split()
            ):
                continue
            folder.mkdir(exist_ok=True)
            (folder / "cgroup.procs").write_text(str(pid), encoding="ascii")
            return Group(folder)
        except OSError:
            continue
    return None
