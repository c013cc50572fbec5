"""The time that a training has had: without that for which its process was stopped."""

from __future__ import annotations

import time

PAUSE_S = 20.0  # of less, nobody can say whether a process was stopped or waited
BUSY = 0.05  # least part of the time that a process which trains is on a processor


class Clock:
    """Counts from when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def passed(self) -> tuple[float, float]:
        """Seconds since the last call, of the wall and of this process. SIGSTOP or a sleeping
        computer lets the wall's go on, but not the process's: then only the latter count."""
        wall, cpu = time.monotonic(), time.process_time()
        wall_s, cpu_s = wall - self._wall, cpu - self._cpu
        self._wall, self._cpu = wall, cpu
        stopped = wall_s > PAUSE_S and cpu_s < BUSY * wall_s
        return (cpu_s if stopped else wall_s), cpu_s
