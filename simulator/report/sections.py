"""Sections of a report: headline, failures, every row, settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from statistics import median
from typing import Any

from simulator.link.rows import Row, is_lost, mean_over_images, values_of
from simulator.metrics.known import KNOWN, SCORED
from simulator.metrics.metric import Declared
from simulator.report.counts import dropped_of, images_of, plural
from simulator.report.markup import (
    Html,
    cells,
    compact_json,
    element,
    json_block,
    note,
    section,
    table,
)
from simulator.report.records import (
    STAGES,
    Record,
    by_method,
    labels_of,
    point_of,
    point_text,
)
from simulator.report.results import p95
from simulator.report.sources import Folder, Sources
from simulator.settings import Settings
from simulator.toml import to_toml

MAX_ROWS = 20_000
MAX_FAILURES = 200
MAX_NAMES = 4  # of methods, in a card

# key, head, digits and factor of numbers; a filter where there are few values.
Column = dict[str, Any]


def column(metric: Declared, stage: str = "") -> Column:
    key, head = (
        (f"{metric.key}_{stage}", f"{metric.label} {stage}")
        if stage
        else (
            metric.key,
            metric.label,
        )
    )
    return {"key": key, "head": head, "digits": metric.digits}


RUN_COLUMNS: tuple[Column, ...] = (
    {"key": "image", "head": "image", "search": True},
    {"key": "channel", "head": "channel", "filter": True},
    {"key": "cbr", "head": "CBR", "filter": True},
    {"key": "snr_db", "head": "SNR dB", "digits": None, "filter": True},
    {"key": "status", "head": "status", "filter": True},
    *(column(metric, stage) for metric in KNOWN if metric.key in SCORED for stage in STAGES),
    {"key": "time_to_preview_s", "head": "to preview ms", "digits": 0, "factor": 1000},
    {"key": "time_to_refined_s", "head": "to refined ms", "digits": 0, "factor": 1000},
    {"key": "caption", "head": "caption", "search": True},
    {"key": "received_snr_db", "head": "received SNR dB", "digits": 2},
    {"key": "papr_db", "head": "PAPR dB", "digits": 1},
    {"key": "repeat", "head": "repeat", "digits": 0},
    {"key": "receiver", "head": "receiver", "filter": True},
    {"key": "run", "head": "run", "filter": True},
)
SWEEP_COLUMNS: tuple[Column, ...] = (
    {"key": "image", "head": "image", "search": True},
    {"key": "label", "head": "method", "filter": True},
    {"key": "channel", "head": "channel", "filter": True},
    {"key": "cbr", "head": "CBR", "filter": True},
    {"key": "snr_db", "head": "SNR dB", "digits": None, "filter": True},
    {"key": "repeat", "head": "repeat", "digits": 0},
    {"key": "outage", "head": "outage", "digits": 0, "filter": True},
    {"key": "seconds", "head": "seconds", "digits": 3},
)


# Headline


def headline(sources: Sources, records: Sequence[Record]) -> Html:
    """Figures over everything in the report; those of single points stand further down."""
    cards = []
    if sources.rows:
        arrived = sum(row["status"] == "delivered" for row in sources.rows)
        so_far = "" if all(folder.finished for folder in sources.folders) else " so far"
        what = f"frames delivered{so_far}"
        told = plural(images_of(sources.rows), "image")
        cards.append(card(f"{arrived} of {len(sources.rows)}", what, told))
    for stage, text in (("preview", "to the first image"), ("refined", "to the refined image")):
        times = values_of(sources.rows, f"time_to_{stage}_s")
        if times:
            told = f"median; 95 % within {p95(times) * 1e3:.0f} ms"
            cards.append(card(f"{median(times) * 1e3:.0f} ms", text, told))
    for metric in KNOWN:
        if metric.key not in SCORED:
            continue
        key, label, digits = metric.key, metric.head, metric.digits
        stages = [f"{key}_{stage}" for stage in STAGES]
        both = [row for row in sources.rows if all(row[each] is not None for each in stages)]
        before, after = (mean_over_images(both or sources.rows, each) for each in stages)
        if both and before is not None and after is not None:
            told = f"preview to refined, mean of {plural(len(both), 'frame')}"
            arrow = "\N{RIGHTWARDS ARROW}"
            cards.append(card(f"{before:.{digits}f} {arrow} {after:.{digits}f}", label, told))
        elif before is not None:
            seen = len(values_of(sources.rows, stages[0]))
            told = f"of the preview, mean of {plural(seen, 'frame')}"
            cards.append(card(f"{before:.{digits}f}", label, told))
    if sources.sweep:
        methods = by_method([r for r in records if r.method not in ("preview", "refined")])
        told = plural(images_of(sources.sweep), "image")
        cards.append(card(str(len(sources.sweep)), "frames in sweeps", told))
        if methods:
            names = list(labels_of([own[0] for own in methods.values()]).values())
            more = len(names) - MAX_NAMES
            told = "; ".join([*names[:MAX_NAMES], f"and {more} more"] if more > 0 else names)
            cards.append(card(str(len(methods)), "methods in sweeps", told))
    points = len({record.point for record in records})
    if points > 1:
        cards.append(card(str(points), "operating points", "channel, CBR and SNR"))
    return element("ul", cards, class_="cards")


def card(figure: str, what: str, told: str = "") -> Html:
    more = element("small", told) if told else None
    return element("li", element("b", figure), element("span", what), more)


# Failures


def failures(sources: Sources, records: Sequence[Record]) -> Html:
    lost = list(filter(is_lost, sources.rows))
    dropped = dropped_of(sources.rows)
    parts: list[Html] = []
    if lost:
        counts = Counter(str(row["status"]) for row in lost)
        told = ", ".join(f"{count} {status}" for status, count in counts.most_common())
        heads = ("image", "operating point", "status", "tried", "reason")
        more = len(lost) - MAX_FAILURES
        parts = [
            element("p", f"{len(lost)} of {len(sources.rows)} frames failed: {told}."),
            table(heads, map(failure, lost[:MAX_FAILURES]), "Failures"),
            note(f"{more} more are in the results table.") if more > 0 else Html(""),
        ]
    elif sources.rows and not dropped:
        parts = [element("p", "None: every frame was delivered.")]
    if dropped:
        told = f"{plural(dropped, 'frame')} made way for newer ones before being sent."
        parts.append(element("p", told))
    outages = Counter(record.method for record in records if record.outage)
    labels = labels_of(records)
    for method, count in outages.items():
        total = sum(record.method == method for record in records)
        parts.append(element("p", f"{labels[method]}: {count} outages in {total} frames."))
    if sources.sweep and not outages:
        parts.append(element("p", "No outage in the sweeps."))
    if not parts:
        parts = [element("p", "Nothing was sent yet.")]
    return section("Failures", parts)


def failure(row: Row) -> Html:
    return cells(
        [
            Path(row["image"] or "").name,
            point_text(point_of(row)),
            row["status"],
            f"{row['attempts'] or 0:g}",
            row["reason"] or "no reason was given",
        ]
    )


# Rows


def results(sources: Sources) -> tuple[Html, list[Html]]:
    """Every row, to sort and filter; and the data that the page's script builds the tables from.

    The data are not inside the section: they may be nearly all of the page, and each element
    around them would copy them.
    """
    parts, data = [], []
    for name, rows, columns in (
        ("run", sources.rows, RUN_COLUMNS),
        ("sweep", sources.sweep, (*SWEEP_COLUMNS, *map(column, sources.metrics))),
    ):
        if rows:
            parts.append(table_of(name, len(rows)))
            data.append(data_of(name, rows, columns))
    return section("Results", parts or note("There are no rows yet.")), data


def table_of(name: str, rows: int) -> Html:
    more = rows - MAX_ROWS
    return element(
        "div",
        element("noscript", note("Sorting and filtering need JavaScript.")),
        note(f"{more} more rows are in the folder.") if more > 0 else None,
        class_="results",
        data_rows=f"{name}-rows",
        data_name=f"{name}s",
    )


def data_of(name: str, rows: Sequence[Row], columns: Sequence[Column]) -> Html:
    """Columns without any value are left out, and those of runs where there is one run."""
    kept = [
        column
        for column in columns
        if any(row.get(column["key"]) is not None for row in rows)
        and not (column["key"] == "run" and len({row["run"] for row in rows}) < 2)
    ]
    keys = [column["key"] for column in kept]
    # Row by row: as one object it would be the largest thing in memory.
    lines = (
        ("," if i else "") + compact_json([row.get(key) for key in keys])
        for i, row in enumerate(islice(rows, MAX_ROWS))
    )
    data = chain([f'{{"columns":{compact_json(kept)},"rows":['], lines, ["]}"])
    return json_block(f"{name}-rows", data)


# Settings


def provenance(sources: Sources) -> Html:
    """Settings, versions, hashes of weights and the machine of each folder."""
    return section("Settings", [about(folder) for folder in sources.folders])


def about(folder: Folder) -> Html:
    tree = {key: value for key, value in folder.tree.items() if key != "provenance"}
    made = folder.tree.get("provenance")
    made = made if isinstance(made, dict) else {}
    versions = made.get("versions")
    lines = [(k.replace("_", " "), spelt(v)) for k, v in made.items() if k != "versions"]
    if isinstance(versions, dict):
        lines.append(("versions", ", ".join(f"{key} {value}" for key, value in versions.items())))
    rx = tree.get("rx")
    if isinstance(rx, dict):
        lines += [(f"{key} asked for", str(rx.get(key))) for key in ("device", "dtype")]
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


def spelt(value: Any) -> str:
    """A setting as a person writes it after --set."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {spelt(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(spelt, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return "none" if value in (None, "") else str(value)


def differences(tree: dict[str, Any]) -> list[str]:
    """``section.name = value`` of the settings that somebody chose."""
    if "settings" in tree:  # a sweep's, which are those of another class
        return []
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
                found.append(f"{where} = {spelt(each)}")
    return found
