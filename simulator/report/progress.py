"""The live page of a run that has just begun: what was asked for, and what each process says."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path

from simulator.errors import DiffJsccError
from simulator.prepare import read_hashes
from simulator.report.constellation import settings_of
from simulator.report.markup import Html, element, section
from simulator.report.sources import Folder, Sources
from simulator.rowfile import parts_of
from simulator.toml import to_toml
from tx.source import build_manifest

TAIL_BYTES = 4096


def progress(sources: Sources) -> Html | None:
    """None where every run has its results."""
    parts = [of_folder(each) for each in sources.folders if going_on(each)]
    return section("Progress", parts) if parts else None


def going_on(folder: Folder) -> bool:
    return "run" in folder.tree and not (folder.finished and parts_of(folder.path))


def of_folder(folder: Folder) -> Html:
    done, total = len(folder.rows), frames_of(folder)
    told = f"{done} of {total} frames have arrived." if total else f"{done} frames have arrived."
    lines = [(path.stem, last_line(path)) for path in sorted(folder.path.glob("logs/*.log"))]
    says = [element("div", element("dt", name), element("dd", line)) for name, line in lines]
    return element("article", element("p", told), element("dl", says) if says else None)


def frames_of(folder: Folder) -> int | None:
    """How many were asked for; None where the images are not on this machine."""
    return count_of(to_toml(folder.tree), folder.path)


@lru_cache(maxsize=16)
def count_of(run_file: str, folder: Path) -> int | None:
    """The page is made again every few seconds."""
    try:
        settings = settings_of(tomllib.loads(run_file))
        return len(build_manifest(settings, read_hashes(folder))) or None  # a source has no end
    except DiffJsccError:
        return None


def last_line(path: Path) -> str:
    """What a process said last, without the time and its name."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return "its log cannot be read"
    last = next((line for line in reversed(lines) if line.strip()), "nothing yet")
    return last.split(" INFO ", 1)[-1]
