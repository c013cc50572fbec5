"""The time that a training has had: without that for which its process was stopped."""

from __future__ import annotations

import time

PAUSE_S = 20.0  # of less, nobody can say whether a process was stopped or waited
BUSY = 0.05  # least part of the time that a process which trains is on a processor


class Clock:
    """Counts from when it is made. ``late_s``: what others have taken of a training's minutes."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.late_s = late_s
        self._wall, self._cpu = time.monotonic(), time.process_time()
        self._asked = (0.0, 0.0)
        self.wall_s = self.cpu_s = 0.0  # in all, at the last look

    def look(self) -> float:
        """Seconds of the wall since the clock was made. SIGSTOP or a sleeping computer lets the
        wall's go on, but not the process's: then only the latter count."""
        wall, cpu = time.monotonic(), time.process_time()
        wall_s, cpu_s = wall - self._wall, cpu - self._cpu
        self._wall, self._cpu = wall, cpu
        stopped = wall_s > PAUSE_S and cpu_s < BUSY * wall_s
        self.wall_s += cpu_s if stopped else wall_s
        self.cpu_s += cpu_s
        return self.wall_s

    def passed(self) -> tuple[float, float]:
        """Seconds since the last call, of the wall and of this process."""
        self.look()
        wall_s, cpu_s = self._asked
        self._asked = (self.wall_s, self.cpu_s)
        return self.wall_s - wall_s, self.cpu_s - cpu_s
