"""Running out of memory: how it is told from other errors, and how it becomes one at all."""

from __future__ import annotations

import gc
import re
import sys
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
# Allocators of processors and of Apple's GPUs raise a plain RuntimeError; oneDNN, which has room
# for everything but its own scratch, says only that it could not go on.
ALLOCATORS = re.compile(
    r"can't allocate memory|out of memory|bad_alloc|could not (create|execute) a primitive",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(ALLOCATORS.search(str(error)))


def release() -> None:
    """Give back what a failed attempt has left behind."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def kilobytes(file: Path, name: str) -> int:
    """One line of a file such as ``/proc/meminfo``."""
    (line,) = [each for each in file.read_text("ascii").splitlines() if each.startswith(f"{name}:")]
    return int(line.split()[1])


def available_bytes() -> int:
    """What this machine, or the container around us, has left. Linux; raises ``OSError``
    elsewhere."""
    free = kilobytes(Path("/proc/meminfo"), "MemAvailable") << 10
    try:
        limit = int((CGROUP / "memory.max").read_text("ascii"))
        return min(free, limit - int((CGROUP / "memory.current").read_text("ascii")))
    except (OSError, ValueError):  # no container, or no limit ("max")
        return free


def resident_bytes() -> int:
    """What this process holds of the machine's memory. Linux; raises ``OSError`` elsewhere."""
    return kilobytes(Path("/proc/self/status"), "VmRSS") << 10


def refuse_what_is_not_there() -> None:
    """From now on an allocation beyond this machine's memory fails, and can be answered.

    Without a limit Linux grants it, and kills the process when it is used. Other systems are
    left as they are.
    """
    if sys.platform != "linux":
        return
    import resource

    try:
        ours = kilobytes(Path("/proc/self/status"), "VmData") << 10
        limit = ours + max(available_bytes(), 1 << 28)
    except (OSError, ValueError):  # no /proc
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
