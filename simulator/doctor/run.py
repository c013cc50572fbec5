"""``diffjscc doctor --run RUN``: whether a run folder is whole, looked at without touching it.

The ledgers are the truth; files made from them can be made again, so only ledgers and images
that are damaged or missing make a run unsound.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from simulator.doctor.finding import Finding
from simulator.errors import DiffJsccError, SettingsError
from simulator.link.ledger import SCHEMA
from simulator.rowfile import RESULTS, parts_of
from simulator.runfolder import RUN_FILE, Rows, read_ledger, reading
from simulator.settings import Settings, make_settings
from simulator.textfile import read_text
from tx.source import build_manifest


def examine_run(folder: Path) -> list[Finding]:
    """What there is to say of a run folder, of one machine or of all three.

    Raises ``SettingsError`` where it is not one.
    """
    ledgers = sorted(folder.glob("tx.db")) + sorted(folder.glob("rx-*.db"))
    if not (folder / RUN_FILE).is_file() and not ledgers:
        raise SettingsError(f"{folder} is no run folder: it has neither {RUN_FILE} nor a ledger.")
    finding, settings = settings_of(folder)
    findings = [finding]
    rows: dict[str, Rows] = {}
    for path in ledgers:
        finding, found = ledger_of(path)
        findings.append(finding)
        if finding.ok:
            rows[path.stem] = found
    if "tx" in rows:
        findings += run_of_ledger(folder / "tx.db", settings)
        findings.append(progress_of(settings, rows["tx"]))
        findings.append(results_of(folder, rows["tx"]))
        findings += both_sides(rows)
    if rows:
        keep = settings.rx.keep if settings else 0
        findings.append(images_of(folder, rows, keep))
    return findings


def settings_of(folder: Path) -> tuple[Finding, Settings | None]:
    try:
        settings = make_settings(folder / RUN_FILE)
    except DiffJsccError as error:
        return Finding(RUN_FILE, False, str(error)), None
    text = f"run {settings.run or settings.name}, seed {settings.seed}"
    return Finding(RUN_FILE, True, text), settings


def ledger_of(path: Path) -> tuple[Finding, Rows]:
    """Its integrity by SQLite's own check, its version, and its rows."""
    try:
        found, schema, statuses = read_ledger(path)
    except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
        return Finding(path.name, False, f"damaged: {error}; keep it, and ask before --resume"), {}
    if schema != str(SCHEMA):
        text = f"of version {schema}, and this program reads {SCHEMA}"
        return Finding(path.name, False, text), {}
    counted = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    return Finding(path.name, True, f"sound; {counted or 'no frame yet'}"), found


def run_of_ledger(path: Path, settings: Settings | None) -> Iterator[Finding]:
    """A run.toml of another run than the ledger's: with it nothing can be resumed."""
    with reading(path) as connection:
        found = dict(connection.execute("SELECT key, value FROM meta"))
    run = found.get("run")
    if settings is not None and run is not None and run != settings.run:
        text = f"is of run {settings.run!r}, the ledger of run {run!r}: write run = {run!r} into it"
        yield Finding(RUN_FILE, False, text)


def progress_of(settings: Settings | None, rows: Rows) -> Finding:
    """How much of the manifest has a row."""
    if settings is None:
        return Finding("progress", None, f"cannot be known without {RUN_FILE}")
    if settings.tx.source:
        return Finding("progress", True, f"{len(rows)} frames of {settings.tx.source}")
    try:
        wanted = {job.frame_id.hex() for job in build_manifest(settings)}
    except DiffJsccError as error:
        return Finding("progress", None, f"cannot be known here: {error}")
    missing = len(wanted - rows.keys())
    if missing == len(wanted) and rows:
        text = "cannot be known here: the images are not the ones that were sent"
        return Finding("progress", None, text)
    if missing:
        text = f"{missing} of {len(wanted)} frames have no row yet; start it again"
        text += " (simulate with --resume)"
        return Finding("progress", None, text)
    return Finding("progress", True, f"all {len(wanted)} frames have their row")


def results_of(folder: Path, rows: Rows) -> Finding:
    """results.jsonl, with its older parts, is made from the ledger."""
    parts, again = parts_of(folder), "the next start of this run writes it again"
    try:
        lines = [json.loads(line) for part in parts for line in read_text(part).splitlines()]
        ids = [line["frame_id"] for line in lines]
    except (OSError, ValueError, TypeError, KeyError) as error:
        return Finding(RESULTS, None, f"damaged ({error}); {again}")
    if not parts:
        return Finding(RESULTS, None, f"not written yet; {again}")
    if sorted(ids) != sorted(rows):
        return Finding(RESULTS, None, f"{len(ids)} rows, the ledger has {len(rows)}; {again}")
    return Finding(RESULTS, True, "has the rows of the ledger")


def both_sides(rows: dict[str, Rows]) -> Iterator[Finding]:
    """What tx says it was given, in the ledgers of the receivers that are here."""
    lost: Counter[str] = Counter()
    for frame_id, row in rows["tx"].items():
        ledger = f"rx-{row.get('receiver')}"
        if row.get("status") == "delivered" and ledger in rows and frame_id not in rows[ledger]:
            lost[ledger] += 1
    for ledger, count in lost.items():
        yield Finding(f"{ledger}.db", False, f"lacks {count} results that tx has from it")


def images_of(folder: Path, rows: dict[str, Rows], keep: int = 0) -> Finding:
    """Every image that a row names, opened and checked; older ones than ``keep`` may be gone."""
    names = {
        row[key]
        for found in rows.values()
        for row in found.values()
        for key in ("preview_file", "refined_file")
        if row.get(key)
    }
    receivers = any(stem != "tx" for stem in rows)
    absent, damaged = 0, []
    for name in sorted(names):
        try:
            with Image.open(folder / name) as image:
                image.verify()
        except FileNotFoundError:
            absent += 1
        except (OSError, SyntaxError, ValueError):  # what PIL raises for a broken file
            damaged.append(name)
    if damaged:
        return Finding("images", False, f"{len(damaged)} damaged, the first {damaged[0]}")
    if absent and not receivers:
        return Finding("images", None, f"{absent} are on the receivers' machines")
    if absent and keep:
        text = f"{len(names) - absent} of {len(names)} are kept (rx.keep), each can be read"
        return Finding("images", True, text)
    if absent:
        return Finding("images", False, f"{absent} of {len(names)} that rows name are gone")
    return Finding("images", True, f"{len(names)}, each can be read")
