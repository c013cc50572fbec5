"""``simulate``: tx, channel and rx as three processes on this machine, supervised.

A child that dies is started again; its ledger and the protocol see to it that nothing is lost
and nothing is done twice. A child that ends with a documented exit code meant it: the run
stops with its sentence.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rx.reference import References
from simulator.child import Child
from simulator.children import (
    FINISHED,
    STOP_S,
    make_children,
    on_this_machine,
    run_keys,
    stop,
    tend,
)
from simulator.claim import claimed
from simulator.errors import (
    ImageError,
    SettingsError,
)
from simulator.link.rows import Row
from simulator.live import READY
from simulator.plugins import with_plugins
from simulator.prepare import prepare, write_hashes
from simulator.report.closing import finish, opened
from simulator.runfolder import RUN_FILE, count_results, write_run_file
from simulator.settings import Settings
from tx.source import Job

WATCH_S = 0.1

log = logging.getLogger("simulate")

#: Frames with a row, all frames of this run, and what goes on.
OnProgress = Callable[[int, int, str], None]


def watch(children: Sequence[Child], folder: Path, on_progress: Callable[[int], None]) -> None:
    """Until tx has finished; restarts what dies. Raises ``ChildFailed``.

    ``on_progress`` is given how many frames have a row. Restarts count since the last of them got
    its own: a long run may lose many processes.
    """
    stored = stored_frames(folder)
    while True:
        if (now := stored_frames(folder)) != stored:
            stored = now
            for child in children:
                child.restarts = child.stillborn = 0
        if tend(children):
            return
        on_progress(stored)
        time.sleep(WATCH_S)


def stored_frames(folder: Path) -> int:
    """Rows in tx's ledger, read without disturbing it."""
    path = folder / "tx.db"
    if not path.is_file():
        return 0
    try:
        return count_results(path)
    except sqlite3.Error:
        return 0  # being made, or busy: the next look will tell


def rows_of_others(folder: Path, manifest: Container[bytes]) -> int:
    """Rows of a folder that was used before, of frames that are not asked for now."""
    if not (folder / "tx.db").is_file():
        return 0
    with opened(folder) as ledger:
        return sum(frame_id not in manifest for frame_id in ledger.finished())


def next_phase(phase: str, children: Sequence[Child]) -> str:
    """What a person waits for: models load for much longer than a frame takes."""
    receivers = [child for child in children if child.name not in ("tx", "channel")]
    if phase == "sending" or not receivers:
        return phase
    return "sending" if all(each.has_said(READY) for each in receivers) else "loading models"


def check_reference(source: str, manifest: Sequence[Job]) -> None:
    """Say how many images a reference folder lacks. Raises ``ImageError`` where it has none."""
    if source in ("attached", "none"):
        return
    known, sent = References(source).hashes, {job.image_sha256 for job in manifest}
    lost = len(sent - known)
    compared = "files are compared by their content"
    if lost == len(sent):
        raise ImageError(
            f"the reference folder {source} has none of the images that are sent, so nothing could "
            f"be scored ({compared}); name the folder of the originals, or leave --reference out."
        )
    if lost:
        log.warning(
            "%d of %d images are not in the reference folder %s and get no scores (%s)",
            lost, len(sent), source, compared,
        )  # fmt: skip


def resumable(folder: Path) -> Path:
    """The settings of an interrupted run, as a file. Raises ``SettingsError``."""
    if not (folder / RUN_FILE).is_file():
        raise SettingsError(f"{folder} holds no {RUN_FILE}: there is no run to resume there.")
    return folder / RUN_FILE


def simulate(settings: Settings, on_progress: OnProgress | None = None) -> list[Row]:
    """Run the three processes until every image has a row; returns the rows.

    The run folder is ``settings.out``. Frames that its ledger holds already are not sent
    again, so that an interrupted run continues. Raises ``DiffJsccError``; a start that is
    refused has written nothing.
    """
    if not isinstance(settings, Settings):
        raise SettingsError(
            f"simulate was given a {type(settings).__name__}: give make_settings(overrides=...)."
        )
    run = prepare(on_this_machine(with_plugins(settings)))
    if run.jobs:
        check_reference(run.settings.rx.reference, run.jobs)
    order, hashes = run.order, run.hashes
    run = replace(
        run, jobs=()
    )  # tx makes its own: in a long run they would be most of what is here
    with claimed(run) as folder, run_keys(run.settings) as keys:
        settings = run.settings.model_copy(update={"out": str(folder)})
        write_run_file(settings, folder, run.made_with)
        write_hashes(hashes, folder)
        children = make_children(settings, folder, keys)
        endless, roll_bytes = bool(settings.tx.source), settings.tx.roll_bytes
        return supervise(children, folder, order, on_progress, endless, roll_bytes)


def supervise(
    children: Sequence[Child],
    folder: Path,
    order: Mapping[bytes, int],
    on_progress: OnProgress | None,
    endless: bool = False,
    roll_bytes: int = 0,
) -> list[Row]:
    """The processes, until tx has finished; then the rows in this ``order`` of frame ids.

    ``endless``: tx has a source; an interruption is how such a run ends.
    """
    strangers = 0 if endless else rows_of_others(folder, order)
    phase = "starting"

    def report(stored: int) -> None:
        if on_progress:
            on_progress(stored - strangers, len(order), phase)

    def looked(stored: int) -> None:
        nonlocal phase
        phase = next_phase(phase, children)
        report(stored)

    try:
        for child in children:
            child.start()
        try:
            watch(children, folder, looked)
        except KeyboardInterrupt:
            if not endless or not finished_first(children[0]):
                raise
        phase = "writing the results"
        report(stored_frames(folder))
    finally:
        stop(children)
        if (folder / "tx.db").is_file():
            rows = finish(folder, order, roll_bytes)
    return rows


def finished_first(tx: Child) -> bool:
    """Stop tx while the others still run. True where it has finished what was under way."""
    tx.stop()
    tx.reap(time.monotonic() + STOP_S)
    return tx.poll() in FINISHED
