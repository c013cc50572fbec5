"""What the codecs of a sweep cost, beside what they reach: parameters, multiplications, time.

methods -> the codec of each, at each ratio -> cost of one image -> ``costs.csv``, a table
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import thread_time

from simulator.errors import SettingsError
from simulator.evaluation.engine import load_pixels
from simulator.evaluation.experiment import Experiment
from simulator.evaluation.jobs import Source
from simulator.evaluation.means import write_csv
from simulator.jscc.cost import Cost, cost_of
from simulator.methods.registry import METHODS, make_method, parse_spec
from simulator.threads import one_thread

#: Methods that are a codec alone, beside those of plugins.
CODECS = ("jscc", "deepjscc-adv", "swinjscc")


@dataclass(frozen=True)
class Spent:
    """By a method's codec, for an image of ``width`` times ``height`` pixels; its seconds are those
    of the one thread that computes."""

    method: str
    label: str
    cbr: str
    width: int
    height: int
    cost: Cost

    def row(self) -> dict[str, object]:
        """Of ``costs.csv``."""
        both = {
            f"{end}_{what}": value
            for what, values in (
                ("parameters", self.cost.of_ends),
                ("macs", self.cost.macs),
                ("ms", [1e3 * each for each in self.cost.seconds]),
            )
            for end, value in zip(("encoder", "decoder"), values, strict=True)
        }
        return {k: v for k, v in asdict(self).items() if k != "cost"} | {"k": self.cost.k} | both


def spent_by(
    experiment: Experiment, sources: Sequence[Source], on_progress: Callable[[int, int, str], None]
) -> list[Spent]:
    """Of the experiment's codecs at each of its ratios, for the first image that can be read; none
    of a codec that does not have the ratio."""
    pixels = next((p for s in sources if not isinstance(p := load_pixels(s), str)), None)
    names = [m for m in experiment.methods if parse_spec(m).name in (*CODECS, *METHODS)]
    if pixels is None or not names:
        return []
    height, width = pixels.shape[:2]
    found = []
    for done, name in enumerate(names):
        on_progress(done, len(names), "what codecs cost")
        method = make_method(name, experiment.context("cpu"))
        label = experiment.labels.get(name, method.label)
        for cbr in experiment.cbr:
            point = next(p for p in experiment.points if str(p.cbr) == cbr)
            try:
                codec = method.codec_at(point.cbr)
                if codec is None:
                    continue
                with one_thread():  # of its own time: others may compute beside it
                    cost = cost_of(codec, (height, width), point.cbr, clock=thread_time)
            except SettingsError:  # its rows say why
                continue
            found.append(Spent(name, label, cbr, width, height, cost))
    return found


def write_costs(spent: Sequence[Spent], path: Path) -> None:
    """Nothing where there is no codec."""
    rows = [each.row() for each in spent]
    if rows:
        write_csv(path, list(rows[0]), rows)
