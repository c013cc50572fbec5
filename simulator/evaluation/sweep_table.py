"""The closing table of a sweep: means with intervals, one line a method under each point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from rich import box
from rich.markup import escape
from rich.table import Table

from simulator.evaluation.means import Line, group_rows
from simulator.evaluation.sweep import Swept
from simulator.link.rows import Row, told_ratio, told_snr
from simulator.metrics.known import metric_of
from simulator.report.counts import told_counts, told_perfect

METHOD_WIDTH = 16  # of eighty columns, where metrics leave little


def table_of(swept: Swept, details: Sequence[str] = ()) -> Table:
    """What all lines share stands in the title. ``details``: of the rows, each in a column."""
    lines = swept.lines
    places: list[Callable[[Line], str]] = [
        lambda line: line.channel,
        lambda line: line.cbr,
        lambda line: told_snr(line.snr_db),
    ]
    shared = [get for get in places if len({get(line) for line in lines}) == 1]
    own = [get for get in places if get not in shared]
    groups = group_rows(swept.rows)
    title = f"means over {told_counts(list(groups.values()))}, ± half of the 95 % interval"
    title += "".join(f", {get(lines[0])}" for get in shared)
    perfect = told_perfect(sum(line.perfect for line in lines)) or None
    table = Table(title=title, caption=perfect, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", overflow="fold", min_width=METHOD_WIDTH)
    metrics = [key for key in swept.experiment.metrics if any(key in ln.means for ln in lines)]
    outages = any(line.outage for line in lines)
    for key in metrics:
        table.add_column(metric_of(key).head, justify="right", no_wrap=True)
    if outages:
        table.add_column("outage", justify="right", no_wrap=True)
    controlled = any(line.sent_ratio for line in lines)
    if controlled:
        table.add_column("sent", justify="right", no_wrap=True)
    for name in details:
        table.add_column(name, justify="right", overflow="fold")
    point = None
    for line in sorted(lines, key=lambda line: order(swept, line)):
        if own and line.place != point:
            point = line.place
            table.add_section()
            table.add_row(escape(", ".join(get(line) for get in own)), style="bold")
        cells = [escape(line.label), *(figure(line, key) for key in metrics)]
        cells += [f"{line.outage:.0%}"] if outages else []
        cells += [told_ratio(line.bandwidth_ratio)] if controlled else []
        rows = groups[line.method, line.place]
        table.add_row(*cells, *(detail(rows, name) for name in details))
    return table


def detail(rows: Sequence[Row], name: str) -> str:
    """The mean of a number, or each of the names that there are."""
    found = [row["details"][name] for row in rows if row.get("details", {}).get(name) is not None]
    if found and all(isinstance(value, int | float) for value in found):
        return f"{fmean(found):.0f}"
    return escape(", ".join(dict.fromkeys(map(str, found)))) or "-"


def order(swept: Swept, line: Line) -> tuple[int, int]:
    """Points as in the configuration, and at each the methods."""
    points = [point.place for point in swept.experiment.points]
    return points.index(line.place), swept.experiment.methods.index(line.method)


def figure(line: Line, key: str) -> str:
    """A mean, its interval, and over how many images, where that is not all of them."""
    mean = line.means.get(key)
    # Without spaces around the sign: eighty columns are few.
    return mean.told(metric_of(key).digits, line.asked).replace(" ± ", " ±") if mean else "-"
