"""The figure of a sweep, PNG and SVG: a column a metric, a row a ratio (or an SNR, or a channel).

Line -> panel (row, metric) -> a curve a method over SNR or bandwidth ratio, bars of 95 %
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from simulator.errors import MissingPackageError
from simulator.evaluation.experiment import Experiment
from simulator.evaluation.means import Line
from simulator.link.rows import told_snr
from simulator.methods.registry import parse_spec
from simulator.metrics.interval import Estimate
from simulator.metrics.known import metric_of

OUTAGE = "outage"
# Okabe and Ito's colours, which people with any colour vision tell apart; black last.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX<>*hp"
DASHES = ("-", "--", ":", "-.")
NAMES = {"awgn": "AWGN", "rayleigh": "Rayleigh", "rician": "Rician"}
PANEL_IN = (3.1, 2.5)
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "diffjscc",
    "font.size": 8,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def draw(experiment: Experiment, lines: Sequence[Line], metrics: Sequence[str], path: Path) -> None:
    """Write ``path``.png and .svg; nothing where no metric has a value.

    Raises ``MissingPackageError`` where matplotlib is not installed.
    """
    columns = [key for key in metrics if any(key in line.means for line in lines)]
    if any(line.outage for line in lines):
        columns.append(OUTAGE)
    if not columns:
        return
    figure = compose(experiment, lines, columns)
    for suffix in (".png", ".svg"):
        # Without a date, and with fixed ids, equal figures are equal files.
        extra = {"metadata": {"Date": None}} if suffix == ".svg" else {"dpi": 160}
        figure.savefig(path.with_suffix(suffix), bbox_inches="tight", **extra)


def compose(experiment: Experiment, lines: Sequence[Line], columns: Sequence[str]) -> Any:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingPackageError(
            'plots need matplotlib: pip install ".[eval]" in the project folder.'
        ) from None
    by_ratio = experiment.x == "cbr"
    rows = list(dict.fromkeys((ln.channel, ln.snr_db if by_ratio else ln.cbr) for ln in lines))
    width, height = PANEL_IN
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * len(columns), height * len(rows)), layout="constrained")
        panels = figure.subplots(len(rows), len(columns), squeeze=False)
        for i, (channel, other) in enumerate(rows):
            told = f"{NAMES.get(channel, channel)}, " + (
                f"CBR {other}" if isinstance(other, str) else told_snr(other)
            )
            own = [
                ln
                for ln in lines
                if (ln.channel, ln.snr_db if by_ratio else ln.cbr) == (channel, other)
            ]
            for j, key in enumerate(columns):
                panel(panels[i][j], experiment, own, key)
                panels[i][j].set_title(told)
        handles: dict[str, Any] = {}
        for axes in panels.flat:
            found, names = axes.get_legend_handles_labels()
            handles |= dict(zip(names, found, strict=True))
        columns_of_legend = min(len(handles), max(2, 2 * len(columns)))
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=columns_of_legend
        )
        figure.suptitle("\n".join(filter(None, (experiment.title, told_bars(lines)))))
    return figure


def told_bars(lines: Sequence[Line]) -> str:
    counts = sorted({line.images for line in lines if line.images})
    if not any(mean.margin for line in lines for mean in line.means.values()):
        return ""
    images = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    fewer = any(mean.images < line.asked for line in lines for mean in line.means.values())
    told = f"bars: 95 % intervals over {images} images, cut at the frame"
    return told + ("; some means are over fewer images, see means.csv" if fewer else "")


def panel(axes: Any, experiment: Experiment, lines: Sequence[Line], key: str) -> None:
    """One metric of all methods. A method that has no value there has no curve."""
    by_ratio = experiment.x == "cbr"
    for method, style in styles(experiment.methods).items():
        own = [ln for ln in lines if ln.method == method and mean_of(ln, key) is not None]
        own.sort(key=lambda line: place(line, by_ratio))
        if not own:
            continue
        means = [mean for line in own if (mean := mean_of(line, key))]
        x = [place(line, by_ratio) for line in own]
        axes.errorbar(
            x,
            [mean.value for mean in means],
            yerr=[mean.margin or 0 for mean in means],
            label=own[0].label,
            capsize=2,
            elinewidth=0.7,
            markersize=3.5,
            linewidth=1.2,
            **style,
        )
    axes.set_ylabel("outage rate" if key == OUTAGE else metric_of(key).head)
    shown = [mean for line in lines if (mean := mean_of(line, key))]
    if shown:
        axes.set_ylim(*limits(shown, key))
    if by_ratio:
        ratios = sorted({Fraction(line.cbr) for line in lines})
        axes.set_xscale("log", base=2)
        axes.set_xticks([float(r) for r in ratios], [str(r) for r in ratios])
        axes.minorticks_off()
        axes.set_xlabel("bandwidth ratio")
    else:
        known = sorted({line.snr_db for line in lines if line.snr_db is not None})
        axes.set_xticks(*((known,) if known else ([0.0], [told_snr(None)])))
        axes.set_xlabel("SNR, dB")


def limits(means: Sequence[Estimate], key: str) -> tuple[float | None, float | None]:
    """Of the axis. Intervals of very few images are wide: they are cut, and curves stay apart."""
    if key == OUTAGE:
        return -0.05, 1.05
    low, high = min(m.value for m in means), max(m.value for m in means)
    room = (high - low) * 0.5
    if not room:
        return None, None
    bottom = min(m.value - (m.margin or 0) for m in means)
    top = max(m.value + (m.margin or 0) for m in means)
    edge = 0.2 * room
    return max(bottom, low - room) - edge, min(top, high + room) + edge


def mean_of(line: Line, key: str) -> Estimate | None:
    if key == OUTAGE:
        return Estimate(line.outage, None, line.images) if line.sent else None
    return line.means.get(key)


def place(line: Line, by_ratio: bool) -> float:
    return float(Fraction(line.cbr)) if by_ratio else line.snr_db or 0.0


def styles(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A colour a family; its variants differ by dashes and markers, and become paler."""
    families = list(dict.fromkeys(parse_spec(method).name for method in methods))
    seen = dict.fromkeys(families, 0)
    found = {}
    for index, method in enumerate(methods):
        family = parse_spec(method).name
        variant = seen[family]
        seen[family] += 1
        found[method] = {
            "color": COLORS[families.index(family) % len(COLORS)],
            "alpha": max(0.4, 1 - 0.15 * variant),
            "linestyle": DASHES[variant % len(DASHES)],
            "marker": MARKERS[index % len(MARKERS)],
        }
    return found
