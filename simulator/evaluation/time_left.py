"""How long a sweep goes on, by what its methods were measured to take."""

from __future__ import annotations

from collections import Counter
from statistics import median

from simulator.evaluation.engine import Done
from simulator.live import duration
from simulator.methods.method import Point


class TimeLeft:
    """How long a sweep will take, from what its methods were measured to take at each point.

    ``left``: sendings of each method and point. ``began_at``: by the clock of ``told``. Scoring
    and saving count too, and several workers: the measured cost of what is done is compared with
    the time that passed.
    """

    def __init__(self, left: Counter[tuple[str, Point]], began_at: float) -> None:
        self.left = left
        self._began_at = began_at
        self._costs_s: dict[tuple[str, Point], list[float]] = {}
        self._spent_s = 0.0

    def add(self, done: Done) -> None:
        self._spent_s += done.seconds
        for point in done.chunk.points:
            self.left[done.chunk.method, point] -= 1
            cost = done.seconds / len(done.chunk.points)
            self._costs_s.setdefault((done.chunk.method, point), []).append(cost)

    def text(self, now: float) -> str:
        """No number before every method has run: it would be far off."""
        waiting = {place: count for place, count in self.left.items() if count}
        if not waiting:
            return "done"
        methods = {method for method, _ in waiting}
        timed = methods & {method for method, _ in self._costs_s}
        if timed != methods or not self._spent_s:
            return f"timing methods, {len(methods - timed)} of {len(methods)} have not run yet"
        cost_s = sum(count * self._cost_s(*place) for place, count in waiting.items())
        return f"about {duration(cost_s * (now - self._began_at) / self._spent_s)} left"

    def _cost_s(self, method: str, point: Point) -> float:
        """The median: what a method does once, such as loading, is not done again."""
        known = self._costs_s.get((method, point))
        others = [median(costs) for (name, _), costs in self._costs_s.items() if name == method]
        return median(known) if known else median(others)
