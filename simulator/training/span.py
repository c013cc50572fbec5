"""What a training spans: its steps, or what its minutes leave for steps.

    | networks, latents, first validation | steps ......................... | last validation |
    0                                     before_s                          end - look_s     end

The schedule runs from the first step to the last one, so that it ends at zero however long the
rest takes. What the last validation takes is known from one before the first step.
"""

from __future__ import annotations

from simulator.training.options import LoopOptions
from simulator.training.progress import Progress

LOOK_LEAST_S = 60.0  # a shorter training does not validate: it would do little else
LOOK_PART = 0.25  # of the minutes, at most, for the last validation
FEW_AT = 10  # steps, after which it is known how many there will be


class Span:
    """Of a training with ``options``, which stands at ``progress``.

    One under ``minutes`` that begins ends ``late_s`` before they are over; one that goes on ends
    when it would have.
    """

    def __init__(self, options: LoopOptions, progress: Progress, late_s: float) -> None:
        self._options, self._progress = options, progress
        if not options.steps and not progress.end_s:
            progress.end_s = 60 * options.minutes - late_s

    def done(self) -> float:
        """The part of the training that is over; 1 and more: all of it."""
        options, progress = self._options, self._progress
        if options.steps:
            return progress.step / options.steps
        last = progress.look_s if self.last_look() else 0.0
        for_steps = progress.end_s - progress.before_s - last
        if for_steps <= 0:  # one step all the same
            return float(progress.step > 0)
        return (progress.wall_s - progress.before_s) / for_steps

    def first_look(self) -> bool:
        """Whether to validate before the first step, to know what it takes."""
        return self._progress.end_s >= LOOK_LEAST_S

    def look(self) -> bool:
        """Whether there is time for a validation between steps, and for the last one."""
        progress = self._progress
        return not progress.end_s or progress.wall_s + 2 * progress.look_s <= progress.end_s

    def last_look(self) -> bool:
        """Whether to validate at the end."""
        end_s = self._progress.end_s
        return not end_s or 0 < self._progress.look_s <= LOOK_PART * end_s

    def few(self) -> str:
        """What to say, once, where the minutes are too few; empty where they are not."""
        options, progress = self._options, self._progress
        if options.steps or progress.step != FEW_AT or progress.steps >= options.warmup:
            return ""
        return (
            f"about {progress.steps} steps fit into the minutes, fewer than the {options.warmup} "
            "in which the learning rate rises: enough to try the command, not for a model."
        )
