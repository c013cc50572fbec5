"""The closing table of a sweep: means with intervals, one line a method under each point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from rich import box
from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

from simulator.evaluation.means import Means, group_rows
from simulator.evaluation.sweep import Swept
from simulator.jscc.cost import HEADS, TOLD
from simulator.link.rows import Row, ratio_text, snr_text
from simulator.methods.method import Place
from simulator.metrics.known import metric_of
from simulator.report.counts import counts_text, perfect_text

METHOD_WIDTH = 16  # at least, of a terminal's columns

Column = tuple[str, list[str]]  # head, and a cell for each line
Groups = dict[tuple[str, Place], list[Row]]


def tables_of(swept: Swept, details: Sequence[str] = (), width: int = 80) -> list[Table]:
    """As many as it takes to keep each within ``width`` columns; what all lines share stands in
    the title. ``details``: of the rows, each in a column."""
    lines = sorted(swept.lines, key=lambda line: order(swept, line))
    places: list[Callable[[Means], str]] = [
        lambda line: line.channel,
        lambda line: line.cbr,
        lambda line: snr_text(line.snr_db),
    ]
    shared = [get for get in places if len({get(line) for line in lines}) == 1]
    own = [get for get in places if get not in shared]
    groups = group_rows(swept.rows)
    columns = columns_of(swept, lines, groups, details)
    room = width - METHOD_WIDTH - 4  # beside the method's column and the box
    drawn = [table_of(lines, own, part) for part in parts_of(columns, room)]
    title = f"means over {counts_text(list(groups.values()))}, ± half of the 95 % interval"
    drawn[0].title = title + "".join(f", {get(lines[0])}" for get in shared)
    drawn[-1].caption = perfect_text(sum(line.perfect for line in lines)) or None
    return drawn


def columns_of(
    swept: Swept, lines: Sequence[Means], groups: Groups, details: Sequence[str]
) -> list[Column]:
    columns = []
    for key in swept.experiment.metrics:
        if any(key in line.means for line in lines):
            columns.append((metric_of(key).head, [figure(line, key) for line in lines]))
    if any(line.outage for line in lines):
        columns.append(("outage", [f"{line.outage:.0%}" for line in lines]))
    if any(line.sent_ratio for line in lines):
        columns.append(("sent", [ratio_text(line.bandwidth_ratio) for line in lines]))
    rows = [groups[line.method, line.place] for line in lines]
    return columns + [(name, [detail(own, name) for own in rows]) for name in details]


def parts_of(columns: Sequence[Column], room: int) -> list[list[Column]]:
    """Columns side by side, as many as fit into ``room``; at least one."""
    parts: list[list[Column]] = [[]]
    left = room
    for head, cells in columns:
        needed = max(map(cell_len, (head, *cells))) + 2
        if needed > left and parts[-1]:
            parts.append([])
            left = room
        parts[-1].append((head, cells))
        left -= needed
    return parts


def table_of(
    lines: Sequence[Means], own: Sequence[Callable[[Means], str]], columns: Sequence[Column]
) -> Table:
    """One line per method; ``own``: what distinguishes points, as a heading over their lines."""
    table = empty_table("method", columns)
    place = None
    for row, line in enumerate(lines):
        if own and line.place != place:
            place = line.place
            table.add_section()
            table.add_row(escape(", ".join(get(line) for get in own)), style="bold")
        table.add_row(escape(line.label), *(cells[row] for _, cells in columns))
    return table


def empty_table(first: str, columns: Sequence[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold", min_width=METHOD_WIDTH)
    for head, _ in columns:
        table.add_column(head, justify="right", overflow="fold")
    return table


def detail(rows: Sequence[Row], name: str) -> str:
    """The mean of a number, or each of the names that there are."""
    found = [row["details"][name] for row in rows if row.get("details", {}).get(name) is not None]
    if found and all(isinstance(value, int | float) for value in found):
        return f"{fmean(found):.0f}"
    return escape(", ".join(dict.fromkeys(map(str, found)))) or "-"


def order(swept: Swept, line: Means) -> tuple[int, int]:
    """Points as in the configuration, and at each the methods."""
    points = [point.place for point in swept.experiment.points]
    return points.index(line.place), swept.experiment.methods.index(line.method)


def figure(line: Means, key: str) -> str:
    """A mean, its interval, and over how many images, where that is not all of them."""
    mean = line.means.get(key)
    # Without spaces around the sign: eighty columns are few.
    return mean.text(metric_of(key).digits, line.asked).replace(" ± ", " ±") if mean else "-"


def cost_tables(swept: Swept, width: int = 80) -> list[Table]:
    """What each codec costs, beside what it reaches at the middle SNR on each channel: one line a
    method and bandwidth ratio; none where the experiment does not ask for it."""
    spent = swept.spent
    if not spent:
        return []
    key = swept.experiment.metrics[0]
    snrs = sorted({p.snr_db for p in swept.experiment.points}, key=lambda snr: snr or 0.0)
    snr_db = snrs[len(snrs) // 2]
    reached = {(line.method, line.place): line for line in swept.lines}
    columns: list[Column] = []
    if len(swept.experiment.cbr) > 1:
        columns.append(("CBR", [each.cbr for each in spent]))
    for channel in swept.experiment.channel.kind:
        lines = [reached.get((each.method, (channel, each.cbr, snr_db))) for each in spent]
        head = f"{metric_of(key).head} {channel}"
        columns.append((head, [figure(line, key) if line else "-" for line in lines]))
    cells = [each.cost.cells() for each in spent]
    columns += [(head, [row[i] for row in cells]) for i, head in enumerate(HEADS)]
    first = spent[0]
    drawn = []
    for part in parts_of(columns, width - METHOD_WIDTH - 4):
        table = empty_table("codec", part)
        for row, each in enumerate(spent):
            table.add_row(escape(each.label), *(cells[row] for _, cells in part))
        drawn.append(table)
    size = f"{first.width}x{first.height}"
    drawn[0].title = f"codecs at {snr_text(snr_db)}, costs of an image of {size} on one thread"
    drawn[-1].caption = TOLD
    return drawn
