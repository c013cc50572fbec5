"""Rate control over time: at which bandwidth ratio frames keep up with a rate of frames.

airtime of each ratio -not longer than a period-> ratios that the medium can carry
seconds that frames took -period-> backlog -drift plus penalty-> one of them

The controller is Lyapunov optimisation's (Neely, Stochastic Network Optimization, 2010, chapter 4;
BOLA does the same for video). The backlog Z is a virtual queue: what a frame took of the link
beyond its period is added, what it left is taken away. Of the ratios r that fit, the one is taken
that maximises V log2 r - Z airtime(r). While frames keep up Z is 0, and that is the largest; where
they do not, the ratio sinks until they do on average, whatever else takes a part of the time: the
receiver, other transmitters, the network. A frame that would have been late at the smallest ratio,
too, says nothing about ratios and counts for nothing: a receiver that is too slow costs no quality.
No statistics of the channel are needed, and nothing is probed, as additive increase would: what a
larger ratio takes of the air is known before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from simulator.phy.airtime import airtime_s
from simulator.phy.law import Law

# V in squares of periods: at Z = 2 periods a ratio that takes all of the air is halved.
V = 1.0
MOST = 16.0  # periods of backlog that count: a link that recovers is used again soon
CALM = 2.0  # Z has to sink so far below what made a ratio smaller before it grows again


@dataclass(frozen=True)
class Cap:
    """The largest ratio that a frame may be sent at, and why it is not the one asked for.
    ``least_s``: what it would take of the air at the smallest ratio."""

    ratio: Fraction
    why: str = ""
    least_s: float = 0.0


def airtimes_of(
    ks: Mapping[Fraction, int], rounds: int, law: Law, symbol_rate_hz: float, guard_s: float
) -> dict[Fraction, float]:
    """Seconds that a frame takes the medium in all its rounds, by ratio. ``ks``: its symbols."""
    return {
        ratio: rounds * airtime_s(law.uses(k // rounds), symbol_rate_hz, guard_s)
        for ratio, k in ks.items()
    }


class Pace:
    """``target_fps``: frames a second to keep up with; ``window``: that are under way at once."""

    def __init__(self, target_fps: float, window: int) -> None:
        self.period_s, self._window = 1 / target_fps, window
        self.backlog_s = 0.0
        self._hopeless_s = 0.0  # beside the air, where no ratio would keep up
        self._last: Fraction | None = None

    def served(self, cap: Cap, seconds: float, air_s: float) -> None:
        """A frame has its row, ``seconds`` after it was begun, of which it was on the air, or has
        waited for it, for ``air_s``.

        With W frames under way, one leaves every seconds / W (Little's law).
        """
        beside_s = seconds - air_s
        hopeless = (beside_s + cap.least_s) / self._window > self.period_s
        self._hopeless_s = beside_s if hopeless else 0.0
        if hopeless:
            return
        backlog_s = self.backlog_s + seconds / self._window - self.period_s
        self.backlog_s = min(max(0.0, backlog_s), MOST * self.period_s)

    def cap(self, airtimes: Mapping[Fraction, float], budget: Fraction) -> Cap:
        """``airtimes``: in s, by ratio; ``budget``: the largest that may be used."""
        allowed = sorted(ratio for ratio in airtimes if ratio <= budget)
        fit = [ratio for ratio in allowed if airtimes[ratio] <= self.period_s] or allowed[:1]
        best = self._best(fit, airtimes, self.backlog_s)
        if self._last is not None and best > self._last:
            best = max(self._last, self._best(fit, airtimes, CALM * self.backlog_s))
            best = min(best, fit[-1])
        self._last = best
        why = [self._why(best, fit[-1], allowed, airtimes)]
        if self._hopeless_s:
            why.append(f"frames take {self._hopeless_s:.2f} s beside the air, which no ratio mends")
        return Cap(best, "; ".join(filter(None, why)), airtimes[allowed[0]])

    def _best(
        self, fit: list[Fraction], airtimes: Mapping[Fraction, float], backlog_s: float
    ) -> Fraction:
        weight = V * self.period_s**2
        return max(fit, key=lambda r: weight * math.log2(r) - backlog_s * airtimes[r])

    def _why(
        self,
        best: Fraction,
        fitting: Fraction,
        allowed: list[Fraction],
        airtimes: Mapping[Fraction, float],
    ) -> str:
        pace = f"{1 / self.period_s:.3g} frames/s"
        if best < fitting:
            return f"at most {best}: {self.backlog_s:.2f} s behind {pace}"
        if airtimes[best] > self.period_s:
            return f"at most {best}: it takes {airtimes[best]:.2f} s of air, too much for {pace}"
        if best < allowed[-1]:
            larger = allowed[allowed.index(best) + 1]
            return f"at most {best}: {larger} takes {airtimes[larger]:.2f} s of air at {pace}"
        return ""
