"""The sections of a report, each a function from what was read to markup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from simulator.report import figures
from simulator.report.constellation import Constellation, constellation_of
from simulator.report.markup import Child, Html, element, json_block
from simulator.report.records import (
    METRICS,
    Point,
    Record,
    by_method,
    by_point,
    mean_at,
    order,
    point_of,
    ratio_of,
    spread,
    told_point,
    told_snr,
)
from simulator.report.results import Row, p95, values_of
from simulator.report.sources import Folder, Sources
from simulator.settings import Settings, to_toml

CLOUDS = 3
MAX_ROWS = 20_000
MAX_FAILURES = 200
OUTAGE = ("outage", "outage", 2)

# Stages in the order of a frame's way, and whose clock measured them. The modelled airtime is
# booked, not waited for, unless channel.airtime says sleep: then it is the observed one.
STAGES = (
    ("load", "load_s", "tx"),
    ("grant wait", "grant_wait_s", "tx"),
    ("encode", "encode_s", "tx"),
    ("wire", "wire_s", "link"),
    ("airtime", "airtime_observed_s", "channel"),
    ("channel queue", "channel_queue_s", "channel"),
    ("rx queue", "rx_queue_s", "rx"),
    ("equalise", "equalize_s", "rx"),
    ("decode", "decode_s", "rx"),
    ("caption", "caption_s", "rx"),
    ("text features", "text_s", "rx"),
    ("diffusion", "diffusion_s", "rx"),
    ("VAE", "vae_s", "rx"),
    ("score", "score_s", "rx, clock stopped"),
    ("save", "save_s", "rx, clock stopped"),
)

# key, head, digits and factor of numbers; a filter where there are few values.
Column = dict[str, Any]
RUN_COLUMNS: tuple[Column, ...] = (
    {"key": "image", "head": "image", "search": True},
    {"key": "channel", "head": "channel", "filter": True},
    {"key": "cbr", "head": "CBR", "filter": True},
    {"key": "snr_db", "head": "SNR dB", "digits": None, "filter": True},
    {"key": "status", "head": "status", "filter": True},
    {"key": "psnr_preview", "head": "PSNR preview", "digits": 2},
    {"key": "psnr_refined", "head": "PSNR refined", "digits": 2},
    {"key": "lpips_preview", "head": "LPIPS preview", "digits": 3},
    {"key": "lpips_refined", "head": "LPIPS refined", "digits": 3},
    {"key": "ms_ssim_preview", "head": "MS-SSIM preview", "digits": 3},
    {"key": "ms_ssim_refined", "head": "MS-SSIM refined", "digits": 3},
    {"key": "time_to_preview_s", "head": "to preview ms", "digits": 0, "factor": 1000},
    {"key": "time_to_refined_s", "head": "to refined ms", "digits": 0, "factor": 1000},
    {"key": "caption", "head": "caption", "search": True},
    {"key": "received_snr_db", "head": "received SNR dB", "digits": 2},
    {"key": "repeat", "head": "repeat", "digits": 0},
    {"key": "receiver", "head": "receiver", "filter": True},
    {"key": "run", "head": "run", "filter": True},
)
SWEEP_COLUMNS: tuple[Column, ...] = (
    {"key": "image", "head": "image", "search": True},
    {"key": "method", "head": "method", "filter": True},
    {"key": "channel", "head": "channel", "filter": True},
    {"key": "cbr", "head": "CBR", "filter": True},
    {"key": "snr_db", "head": "SNR dB", "digits": None, "filter": True},
    {"key": "repeat", "head": "repeat", "digits": 0},
    {"key": "outage", "head": "outage", "digits": 0, "filter": True},
    {"key": "psnr", "head": "PSNR", "digits": 2},
    {"key": "ms_ssim", "head": "MS-SSIM", "digits": 3},
    {"key": "lpips", "head": "LPIPS", "digits": 3},
    {"key": "seconds", "head": "seconds", "digits": 3},
)


def anchor(head: str) -> str:
    return head.lower().replace(" ", "-")


def section(head: str, *body: Child) -> Html:
    return element("section", element("h2", head), *body, id=anchor(head))


def note(text: str) -> Html:
    return element("p", text, class_="note")


# Headline


def headline(sources: Sources, records: Sequence[Record]) -> Html:
    """Figures over everything in the report; those of single points stand further down."""
    cards = []
    if sources.rows:
        arrived = sum(row["status"] == "delivered" for row in sources.rows)
        cards.append(card(f"{arrived} of {len(sources.rows)}", "transmissions delivered"))
    for stage, text in (("preview", "to the first image"), ("refined", "to the refined image")):
        times = values_of(sources.rows, f"time_to_{stage}_s")
        if times:
            told = f"median; 95 % within {p95(times) * 1e3:.0f} ms"
            cards.append(card(f"{median(times) * 1e3:.0f} ms", text, told))
    for key, label, digits in METRICS:
        pairs = [
            (row[f"{key}_preview"], row[f"{key}_refined"])
            for row in sources.rows
            if row[f"{key}_preview"] is not None and row[f"{key}_refined"] is not None
        ]
        if pairs:
            before, after = (fmean(values) for values in zip(*pairs, strict=True))
            told = f"preview to refined, mean of {len(pairs)}"
            arrow = "\N{RIGHTWARDS ARROW}"
            cards.append(card(f"{before:.{digits}f} {arrow} {after:.{digits}f}", label, told))
        elif values := values_of(sources.rows, f"{key}_preview"):
            told = f"of the preview, mean of {len(values)}"
            cards.append(card(f"{fmean(values):.{digits}f}", label, told))
    if sources.sweep:
        methods = by_method([r for r in records if r.method not in ("preview", "refined")])
        count = len({row["image"] for row in sources.sweep})
        cards.append(card(str(len(sources.sweep)), "transmissions in sweeps", f"{count} images"))
        if methods:
            cards.append(card(str(len(methods)), "methods beside ours", ", ".join(methods)))
    points = len({record.point for record in records})
    if points > 1:
        cards.append(card(str(points), "operating points", "channel, CBR and SNR"))
    return element("ul", cards, class_="cards")


def card(figure: str, what: str, told: str = "") -> Html:
    more = element("small", told) if told else None
    return element("li", element("b", figure), element("span", what), more)


# Operating points and curves


def metrics_of(records: Sequence[Record]) -> list[tuple[str, str, int]]:
    """The metrics that there are, and outages where one happened."""
    found = [m for m in METRICS if any(m[0] in record.values for record in records)]
    return [*found, OUTAGE] if any(record.outage for record in records) else found


def points_table(records: Sequence[Record]) -> Html:
    """Means with 95 % intervals, one line an operating point and method."""
    metrics = metrics_of(records)
    heads = ["channel", "CBR", "SNR", "method", "images", *(label for _, label, _ in metrics)]
    timed = any(record.after_s is not None for record in records)
    lines = []
    for (channel, cbr, snr_db), group in by_point(records).items():
        for method, own in by_method(group).items():
            cells = [channel, cbr, told_snr(snr_db), method]
            cells.append(str(len({record.image for record in own})))
            for key, _, digits in metrics:
                mean = mean_at(own, key)
                cells.append(mean.told(digits) if mean else "-")
            times = [record.after_s for record in own if record.after_s is not None]
            if timed:
                cells.append(f"{median(times) * 1e3:.0f}" if times else "-")
            lines.append(element("tr", [element("td", cell) for cell in cells]))
    heads += ["median ms"] if timed else []
    head = element("tr", [element("th", name, scope="col") for name in heads])
    body = element("table", element("thead", head), element("tbody", lines))
    return section("Operating points",
        element("div", body, class_="scroll", tabindex=0, role="region",
                aria_label="Means at each operating point"),
        note("Mean ± half of the 95 % interval (Student's t over images; repeats of an image are "
             "averaged first). One image has no interval."),
    )  # fmt: skip


def curves(records: Sequence[Record]) -> Html:
    """Against SNR at each ratio, and against the ratio at each SNR, where there are two."""
    methods = {name: index for index, name in enumerate(by_method(records))}
    metrics = metrics_of(records)
    over_snr, over_rate = panels(records)
    blocks = [
        block(f"{channel}, CBR {cbr}", "SNR, dB", points, records, methods, metrics,
              lambda point: (point[2] or 0.0, f"{point[2]:g}"))
        for (channel, cbr), points in over_snr.items()
    ]  # fmt: skip
    blocks += [
        block(f"{channel}, {told_snr(snr)}", "channel uses a sample (CBR)", points, records,
              methods, metrics, lambda point: (rate_axis(point[1]), point[1]))
        for (channel, snr), points in over_rate.items()
    ]  # fmt: skip
    if not blocks or not metrics:
        text = "No curve: each needs two SNRs at one ratio, or two ratios at one SNR, and a metric."
        return section("Curves", note(text))
    rest = blocks[4:]
    more = element("details", element("summary", f"{len(rest)} more"), rest) if rest else None
    text = (
        "Bands are 95 % intervals of the mean over images, cut where they leave the figure; the "
        "table above has them whole. Without a band there is one image."
    )
    return section("Curves", figures.legend(list(methods)), blocks[:4], more, note(text)
    )  # fmt: skip


def rate_axis(cbr: str) -> float:
    """Ratios double from one to the next: the axis is their logarithm."""
    ratio = ratio_of(cbr)
    return float(np.log2(ratio)) if ratio > 0 else 0.0


def panels(
    records: Sequence[Record],
) -> tuple[dict[tuple[str, str], list[Point]], dict[tuple[str, float], list[Point]]]:
    """Points that make a curve over SNR, by (channel, cbr), and over the ratio, by
    (channel, snr_db)."""
    over_snr: dict[tuple[str, str], list[Point]] = {}
    over_rate: dict[tuple[str, float], list[Point]] = {}
    for point in by_point(records):
        channel, cbr, snr_db = point
        if snr_db is not None:
            over_snr.setdefault((channel, cbr), []).append(point)
            if ratio_of(cbr) > 0:
                over_rate.setdefault((channel, snr_db), []).append(point)
    return (
        {key: points for key, points in over_snr.items() if len(points) > 1},
        {key: points for key, points in over_rate.items() if len(points) > 1},
    )


def block(
    head: str, x_name: str, points: list[Point], records: Sequence[Record],
    methods: dict[str, int], metrics: Sequence[tuple[str, str, int]],
    x_of: Callable[[Point], tuple[float, str]],
) -> Html:  # fmt: skip
    """One line of small figures, a metric each."""
    ticks = sorted({x_of(point) for point in points})
    drawn = []
    for key, label, digits in metrics:
        lines = []
        for method, index in methods.items():
            own = by_point([r for r in records if r.method == method and r.point in points])
            means = [(x_of(point)[0], mean_at(group, key)) for point, group in own.items()]
            found = sorted(((x, m) for x, m in means if m is not None), key=lambda pair: pair[0])
            if found:
                lines.append(figures.Curve(method, index, found))
        if lines:
            drawn.append(figures.curves(label, x_name, lines, ticks, digits))
    return element("figure", element("figcaption", head), element("div", drawn, class_="panels"))


# Constellations


def constellations(sources: Sources) -> Html:
    """One frame at a few operating points: sent, received, equalised."""
    firsts: dict[Point, Row] = {}
    for row in sources.rows:
        if row["status"] == "delivered":
            firsts.setdefault(point_of(row), row)
    parts: list[Html] = []
    for row in spread([firsts[p] for p in sorted(firsts, key=order)], CLOUDS):
        found = constellation_of(row, sources)
        what = f"{Path(row['image'] or '').name}, {told_point(point_of(row))}"
        parts.append(
            note(f"{what}: no constellation; {found}.")
            if isinstance(found, str)
            else clouds(found, what, row)
        )
    if not parts:
        parts = [note("No frame was delivered by a run, so there is none to draw.")]
    return section("Constellation", parts)


def clouds(found: Constellation, what: str, row: Row) -> Html:
    reach = 1.25 * max(
        float(np.quantile(np.abs(symbols), 0.99))
        for symbols in (found.sent, found.received, found.equalised)
    )
    titles = (("sent", found.sent), ("received", found.received), ("equalised", found.equalised))
    drawn = [
        element("div", element("b", title), figures.cloud(
            symbols, reach, f"Constellation of {what}, {title}: {len(symbols)} "
            f"symbols of mean power {np.mean(np.abs(symbols) ** 2):.2f}"))
        for title, symbols in titles
    ]  # fmt: skip
    gain = f"|h|² = {np.mean(np.abs(found.h) ** 2):.2f}"
    if len(found.h) == 1:
        gain += f", phase {np.degrees(np.angle(found.h[0])):.0f}°"
    told = (
        f"{what}: {len(found.sent)} symbols, {gain}, received SNR {found.received_snr_db:.1f} dB; "
        f"error after equalisation {found.error_db:.1f} dB. The circle has radius 1. "
    )
    told += (
        "This frame's own symbols, gain and noise, computed again from the run's seed; the SNR "
        "agrees with the one that was measured."
        if found.exact
        else "Computed from the run's settings, but not this frame's own draws: its source file or "
        f"the channel's settings are not here (measured SNR {measured(row)})."
    )
    return element(
        "figure",
        element("div", drawn, class_="clouds"),
        element("figcaption", told),
        class_="constellation",
    )


def measured(row: Row) -> str:
    snr = row["received_snr_db"]
    return "not known" if snr is None else f"{snr:.1f} dB"


# Latency


def waterfall(rows: Sequence[Row]) -> Html:
    """Median and p95 of each stage, each bar beginning where the medians before it end."""
    delivered = [row for row in rows if row["status"] == "delivered"]
    stages = [(name, values_of(delivered, key), who) for name, key, who in STAGES]
    found = [(name, median(values), p95(values), who) for name, values, who in stages if values]
    if not found:
        return section("Latency", note("No durations: no frame was delivered by a run."))
    starts = np.concatenate([[0.0], np.cumsum([middle for _, middle, _, _ in found])])
    whole = max(
        float(start) + max(middle, high)
        for start, (_, middle, high, _) in zip(starts[:-1], found, strict=True)
    )
    lines = []
    for start, (name, middle, high, who) in zip(starts[:-1], found, strict=True):
        bar = element("td", figures.bar(float(start), middle, high, whole), class_="bar")
        cells = [element("td", told) for told in (told_ms(middle), told_ms(high))]
        head = element("th", name, element("small", who), scope="row")
        lines.append(element("tr", head, cells, bar, class_=who.partition(",")[0]))
    heads = ("stage", "median ms", "p95 ms", "")
    head = element("tr", [element("th", each, scope="col") for each in heads])
    body = element("table", element("thead", head), element("tbody", lines), class_="waterfall")
    text = (
        f"Over {len(delivered)} delivered frames. Solid: median, placed after the medians of the "
        "stages before it; thin: 95th percentile. Medians of stages do not add up to the median of "
        "the whole. Frames that were refined together are each booked with their batch's time."
    )
    if booked := values_of(delivered, "airtime_modelled_s"):
        text += (
            f" Airtime of the symbols by the channel's symbol rate: {told_ms(median(booked))} ms "
            "(median); it is waited for only under channel.airtime = sleep."
        )
    return section("Latency", element("div", body, class_="scroll"), note(text)
    )  # fmt: skip


def told_ms(seconds: float) -> str:
    value = seconds * 1e3
    if not value:
        return "0"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.3f}"


# Failures


def failures(sources: Sources, records: Sequence[Record]) -> Html:
    lost = [row for row in sources.rows if row["status"] != "delivered"]
    parts: list[Html] = []
    if lost:
        counts = Counter(str(row["status"]) for row in lost)
        told = ", ".join(f"{count} {status}" for status, count in counts.most_common())
        heads = ("image", "operating point", "status", "tried", "reason")
        lines = [
            element("tr", [element("td", cell) for cell in (
                Path(row["image"] or "").name, told_point(point_of(row)), row["status"] or "",
                f"{row['attempts'] or 0:g}", row["reason"] or "no reason was given",
            )])
            for row in lost[:MAX_FAILURES]
        ]  # fmt: skip
        head = element("tr", [element("th", each, scope="col") for each in heads])
        table = element("table", element("thead", head), element("tbody", lines))
        more = len(lost) - MAX_FAILURES
        parts = [
            element("p", f"{len(lost)} of {len(sources.rows)} transmissions failed: {told}."),
            element("div", table, class_="scroll"),
            *([note(f"{more} more are in the results table.")] if more > 0 else []),
        ]
    elif sources.rows:
        parts = [element("p", "None: every image was delivered.")]
    outages = Counter(record.method for record in records if record.outage)
    for method, count in outages.items():
        total = sum(record.method == method for record in records)
        parts.append(element("p", f"{method}: {count} outages in {total} transmissions."))
    if sources.sweep and not outages:
        parts.append(element("p", "No outage in the sweeps."))
    if not parts:
        parts = [element("p", "Nothing was sent yet.")]
    return section("Failures", parts)


# Rows


def results(sources: Sources) -> Html:
    """Every row, to sort and filter. The page's script builds the tables from this data."""
    parts = []
    for name, rows, columns in (
        ("run", sources.rows, RUN_COLUMNS),
        ("sweep", sources.sweep, SWEEP_COLUMNS),
    ):
        if rows:
            parts.append(table_of(name, rows, columns))
    if not parts:
        parts = [note("There are no rows yet.")]
    return section("Results", parts)


def table_of(name: str, rows: Sequence[Row], columns: Sequence[Column]) -> Html:
    """Columns without any value are left out, and those of runs where there is one run."""
    kept = [
        column
        for column in columns
        if any(row[column["key"]] is not None for row in rows)
        and not (column["key"] == "run" and len({row["run"] for row in rows}) < 2)
    ]
    data = {
        "columns": kept,
        "rows": [[row[column["key"]] for column in kept] for row in rows[:MAX_ROWS]],
    }
    more = len(rows) - MAX_ROWS
    return element(
        "div",
        element("noscript", note("Sorting and filtering need JavaScript.")),
        json_block(f"{name}-rows", data),
        note(f"{more} more rows are in the folder.") if more > 0 else None,
        class_="results",
        data_rows=f"{name}-rows",
        data_name=f"{name}s",
    )


# Settings


def provenance(sources: Sources) -> Html:
    """Settings, versions, hashes of weights and the machine of each folder."""
    return section("Settings", [about(folder) for folder in sources.folders])


def about(folder: Folder) -> Html:
    tree = {key: value for key, value in folder.tree.items() if key != "provenance"}
    made = folder.tree.get("provenance")
    made = made if isinstance(made, dict) else {}
    versions = made.get("versions")
    lines = [(k.replace("_", " "), str(v)) for k, v in made.items() if k != "versions"]
    if isinstance(versions, dict):
        lines.append(("versions", ", ".join(f"{key} {value}" for key, value in versions.items())))
    rx = tree.get("rx")
    if isinstance(rx, dict):
        lines.append(("device asked for", f"{rx.get('device')}, {rx.get('dtype')}"))
    models = {row["model"] for row in folder.rows if row["model"]}
    sampler = {(row["solver"], row["steps"]) for row in folder.rows if row["solver"]}
    lines += [("model of the rows", ", ".join(sorted(models)))] if models else []
    lines += [("sampler", f"{solver}, {steps} steps") for solver, steps in sorted(sampler, key=str)]
    changed = differences(tree)
    if changed:
        lines.append(("not as by default", ", ".join(changed)))
    told = [element("div", element("dt", a), element("dd", b)) for a, b in lines]
    return element(
        "article",
        element("h3", str(folder.path.resolve().name)),
        element("dl", told) if told else note("This folder says nothing about its settings."),
        element(
            "details", element("summary", "All settings"), element("pre", to_toml(tree).strip())
        )
        if tree
        else None,
    )


def differences(tree: dict[str, Any]) -> list[str]:
    """``section.name = value`` of the settings that somebody chose."""
    default = Settings().model_dump()
    found = []
    for key, value in tree.items():
        pairs = value.items() if isinstance(value, dict) else [(None, value)]
        for name, each in pairs:
            base = default.get(key)
            normal = base.get(name) if isinstance(base, dict) and name else base
            where = key if name is None else f"{key}.{name}"
            chosen = where not in ("run", "out", "tx.connect", "rx.connect", "channel.front",
                                   "channel.back", "codec", "tx.images")  # fmt: skip
            if chosen and (isinstance(value, dict) == isinstance(base, dict)) and each != normal:
                found.append(f"{where} = {each}")
    return found
