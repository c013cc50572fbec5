"""The figure of a sweep, PNG and SVG: a panel for each metric and ratio (or SNR, or channel).

Means -> panel (row, metric) -> a curve a method over SNR or bandwidth ratio, bars of 95 %
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from simulator.errors import missing_package
from simulator.evaluation.experiment import Experiment, Published
from simulator.evaluation.means import Means
from simulator.link.rows import snr_text
from simulator.methods.registry import parse_spec
from simulator.metrics.interval import Estimate
from simulator.metrics.known import metric_of
from simulator.report.figures import hidden

OUTAGE = "outage"
# Okabe and Ito's colours, which people with any colour vision tell apart; black last.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX<>*hp"
DASHES = ("-", "--", ":", "-.")
NAMES = {"awgn": "AWGN", "rayleigh": "Rayleigh", "rician": "Rician", "mimo": "MIMO"}
PUBLISHED: dict[str, Any] = {"color": "0.45", "linewidth": 0.8, "marker": ".", "markersize": 2.5}
PANEL_IN = (3.1, 2.5)
MAX_ACROSS = 3
LETTER_IN, HANDLE_IN = 0.056, 0.5  # widths in the legend
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "diffjscc",
    "font.size": 8,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def draw(
    experiment: Experiment, lines: Sequence[Means], metrics: Sequence[str], path: Path
) -> None:
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


def compose(experiment: Experiment, lines: Sequence[Means], columns: Sequence[str]) -> Any:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_package("plotting", "matplotlib", "eval") from None
    by_ratio = experiment.x == "cbr"
    rows = list(dict.fromkeys((ln.channel, ln.snr_db if by_ratio else ln.cbr) for ln in lines))
    width, height = PANEL_IN
    places = arranged(len(rows), len(columns))
    down, across = (1 + max(place[axis] for place in places.values()) for axis in (0, 1))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * across, height * down), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False)
        for axes in panels.flat[len(places) :]:
            axes.remove()
        for i, (channel, other) in enumerate(rows):
            told = f"{NAMES.get(channel, channel)}, " + (
                f"CBR {other}" if isinstance(other, str) else snr_text(other)
            )
            own = [
                ln
                for ln in lines
                if (ln.channel, ln.snr_db if by_ratio else ln.cbr) == (channel, other)
            ]
            for j, key in enumerate(columns):
                axes = panels[places[i, j]]
                panel(axes, experiment, own, key)
                beside(axes, experiment, published_in(experiment, (channel, other), key))
                axes.set_title(told)
        papers = [p for row in rows for key in columns for p in published_in(experiment, row, key)]
        handles = legend_of(experiment, lines, papers)
        longest = max((len(handle.get_label()) for handle in handles), default=1)
        fit = int(width * across / (LETTER_IN * longest + HANDLE_IN))
        ncols = max(1, min(len(handles), fit))
        figure.legend(handles=handles, loc="outside lower center", ncols=ncols)
        sources = dict.fromkeys(f"{each.label}: {each.source}" for each in papers)
        heads = (experiment.title, bars_text(lines), *sources)
        figure.suptitle("\n".join(filter(None, heads)), fontsize="medium")
    return figure


def published_in(
    experiment: Experiment, row: tuple[str, float | str | None], key: str
) -> list[Published]:
    """The published curves that belong to a panel."""
    by_ratio = experiment.x == "cbr"
    return [
        each
        for each in experiment.published
        if (each.channel, each.snr_db if by_ratio else each.cbr) == row and each.metric == key
    ]


def beside(axes: Any, experiment: Experiment, papers: Sequence[Published]) -> None:
    """Published curves as thin lines."""
    for each in papers:
        low, high = axes.get_ylim()
        axes.plot(each.x, each.y, **published_style(experiment, each.label))
        edge = 0.05 * (max(high, *each.y) - min(low, *each.y))
        axes.set_ylim(min(low, min(each.y) - edge), max(high, max(each.y) + edge))


def published_style(experiment: Experiment, label: str) -> dict[str, Any]:
    """Grey, with the dashes of the label."""
    names = list(dict.fromkeys(each.label for each in experiment.published))
    return {**PUBLISHED, "linestyle": DASHES[names.index(label) % len(DASHES)]}


def legend_of(
    experiment: Experiment, lines: Sequence[Means], papers: Sequence[Published]
) -> list[Any]:
    """One handle a method that has a value somewhere, whatever widths its curves have, and one a
    published curve."""
    from matplotlib.lines import Line2D

    labels = {line.method: line.label for line in lines if line.sent}
    names = dict.fromkeys(each.label for each in papers)
    return [
        Line2D([], [], label=labels[method], linewidth=1.2, markersize=3.5, **style)
        for method, style in styles(experiment.methods).items()
        if method in labels
    ] + [Line2D([], [], label=label, **published_style(experiment, label)) for label in names]


def arranged(rows: int, columns: int) -> dict[tuple[int, int], tuple[int, int]]:
    """Where the panel of a row and a column stands, so that a figure fits a page: not more than
    ``MAX_ACROSS`` beside one another where there are fewer rows than columns."""
    cells = [(i, j) for i in range(rows) for j in range(columns)]
    if columns <= MAX_ACROSS:
        return {(i, j): (i, j) for i, j in cells}
    if rows == 1:
        return {(0, j): divmod(j, MAX_ACROSS) for _, j in cells}
    return {(i, j): (j, i) if rows < columns else (i, j) for i, j in cells}


def bars_text(lines: Sequence[Means]) -> str:
    counts = sorted({line.images for line in lines if line.images})
    if not any(mean.margin for line in lines for mean in line.means.values()):
        return ""
    images = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    fewer = any(mean.images < line.asked for line in lines for mean in line.means.values())
    told = f"bars: 95 % intervals over {images} images, cut at the frame"
    return told + ("; some means are over fewer images, see means.csv" if fewer else "")


def panel(axes: Any, experiment: Experiment, lines: Sequence[Means], key: str) -> None:
    """One metric of all methods. A method that has no value there, or no outage, has no curve."""
    by_ratio = experiment.x == "cbr"
    drawn = []
    for method, style in styles(experiment.methods).items():
        own = [ln for ln in lines if ln.method == method and mean_of(ln, key) is not None]
        own.sort(key=lambda line: place(line, by_ratio))
        means = [mean for line in own if (mean := mean_of(line, key))]
        if own and (key != OUTAGE or any(line.outage for line in own)):
            drawn.append((own[0].label, style, [place(line, by_ratio) for line in own], means))
    series = [[(at, m.value) for at, m in zip(x, ms, strict=True)] for _, _, x, ms in drawn]
    heights = [value for one in series for _, value in one]
    reach = max(heights) - min(heights) if heights else 0.0
    few = len(drawn) <= len(COLORS)  # the bars of many hide the curves
    for (name, style, x, means), below in zip(drawn, hidden(series, reach), strict=True):
        below = min(below, 3)
        axes.errorbar(
            x,
            [mean.value for mean in means],
            yerr=[mean.margin or 0 for mean in means],
            label=name,
            capsize=2 if few else 1,
            elinewidth=0.7 if few else 0.4,
            markersize=3.5 + below,
            linewidth=1.2 + 0.9 * below,
            **style,
        )
    axes.set_ylabel("outage rate" if key == OUTAGE else metric_of(key).head)
    if key == OUTAGE and not drawn:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color="0.45")
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
        axes.set_xticks(*((known,) if known else ([0.0], [snr_text(None)])))
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


def mean_of(line: Means, key: str) -> Estimate | None:
    if key == OUTAGE:
        return Estimate(line.outage, None, line.images) if line.sent else None
    return line.means.get(key)


def place(line: Means, by_ratio: bool) -> float:
    if by_ratio:
        return line.sent_ratio or float(Fraction(line.cbr))
    return line.snr_db or 0.0


def shade(color: str, variant: int) -> tuple[float, float, float]:
    """The colour itself, then darker and paler ones in turn."""
    towards, share = ((0.0, 0.45), (1.0, 0.5), (0.0, 0.7), (1.0, 0.7))[(variant - 1) % 4]
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    mixed = parts if variant == 0 else [p + (towards - p) * share for p in parts]
    return mixed[0], mixed[1], mixed[2]


def family_of(method: str) -> tuple[str, str]:
    spec = parse_spec(method)
    return spec.name, str(spec.options.get("codec", ""))


def styles(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A colour a method, and where there are more than colours a family, of one name and one codec:
    its variants differ by shade, dashes and markers."""
    if len(methods) <= len(COLORS):
        return {
            method: {"color": color, "marker": mark}
            for method, color, mark in zip(methods, COLORS, MARKERS, strict=False)
        }
    families = list(dict.fromkeys(map(family_of, methods)))
    seen = dict.fromkeys(families, 0)
    found = {}
    for index, method in enumerate(methods):
        family = family_of(method)
        variant, rank = seen[family], families.index(family)
        seen[family] += 1
        found[method] = {
            "color": shade(COLORS[rank % len(COLORS)], variant),
            "linestyle": DASHES[(variant + rank // len(COLORS)) % len(DASHES)],
            "marker": MARKERS[index % len(MARKERS)],
        }
    return found
