"""``simulate``: tx, channel and rx as three processes on this machine, supervised.

A child that dies is started again; its ledger and the protocol see to it that nothing is lost
and nothing is done twice. A child that ends with a documented exit code meant it: the run
stops with its sentence.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rx.reference import References
from simulator.child import Child, ChildFailed
from simulator.claim import claimed
from simulator.errors import (
    EXIT_CODES,
    ImageError,
    KeysError,
    SettingsError,
    StorageError,
)
from simulator.link import keyfolder
from simulator.link.keys import KeyFileError, Role
from simulator.link.ledger import LedgerError, TxLedger
from simulator.link.rows import Row
from simulator.link.rowtable import RowTable
from simulator.live import READY
from simulator.prepare import prepare, write_hashes
from simulator.report.results import write_results
from simulator.report.sheet import write_sheet
from simulator.report.tables import markdown_of_points
from simulator.runfolder import RUN_FILE, write_run_file
from simulator.settings import Settings, make_settings
from tx.source import Job

DEFECT = 1  # exit code of a traceback
FIRST_WORD = " INFO "  # of a log: the process has its modules and its settings
FINISHED = (0, 7)  # exit codes of a tx that has every frame in its ledger
MAX_RESTARTS = 50
FIRST_PORT = 15_000  # below are those of well-known services
OUTGOING_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
MAX_STILLBORN = 2  # restarts of one that ends by an error before its first word
RESTART_PAUSE_S = 0.2
WATCH_S = 0.1
STOP_S = 10.0

log = logging.getLogger("simulate")

#: Frames with a row, all frames of this run, and what goes on.
OnProgress = Callable[[int, int, str], None]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that are free now.

    They are below those that the system gives to outgoing connections, one of which could take a
    port before its process binds it.
    """
    ports = random.SystemRandom().sample(range(FIRST_PORT, first_outgoing_port()), 50 * count)
    sockets: list[socket.socket] = []
    try:
        for port in (*ports, *(0,) * count):  # 0: any, where all of these are taken
            each = socket.socket()
            try:
                each.bind(("127.0.0.1", port))
            except OSError:
                each.close()
                continue
            sockets.append(each)
            if len(sockets) == count:
                break
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def first_outgoing_port() -> int:
    """Of the range for outgoing connections; Linux's default where no other is known."""
    try:
        first = int(OUTGOING_PORTS.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
    return first if first >= 2 * FIRST_PORT else 32_768


def on_this_machine(settings: Settings) -> Settings:
    """Settings with free ports, and with room for every receiver."""
    front, back = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    threads = settings.rx.threads or max(1, (os.cpu_count() or 1) // settings.receivers)
    window = max(settings.tx.window, settings.receivers)
    return settings.model_copy(
        update={
            "tx": settings.tx.model_copy(
                update={"connect": front, "window": window, "wait_receivers": settings.receivers}
            ),
            "channel": settings.channel.model_copy(update={"front": front, "back": back}),
            "rx": settings.rx.model_copy(update={"connect": back, "threads": threads}),
        }
    )


def receiver_names(settings: Settings) -> list[str]:
    if settings.receivers == 1:
        return [settings.rx.name]
    return [f"{settings.rx.name}{i + 1}" for i in range(settings.receivers)]


def make_keys(settings: Settings, folder: Path) -> None:
    """In ``folder``: ``channel``, and for each tx and rx a folder of its name, all admitted."""
    channel = folder / "channel"
    keyfolder.init(channel, "channel")
    clients: list[tuple[Role, str]] = [("tx", settings.tx.name)]
    clients += [("rx", name) for name in receiver_names(settings)]
    for role, name in clients:
        home = folder / role / name
        keyfolder.init(home, role, name, channel / "channel.pub")
        keyfolder.add(channel, role, home / f"{name}.pub")


@contextmanager
def run_keys(settings: Settings) -> Iterator[Path | None]:
    """Keys for this start of a run, gone when it ends; None where none are wanted.

    Not in the run folder: those are copied and shown around.
    """
    if not settings.keys:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="diffjscc-keys-") as scratch:
        try:
            make_keys(settings, Path(scratch))
        except KeyFileError as error:
            raise KeysError(str(error)) from None
        yield Path(scratch)


def make_children(settings: Settings, folder: Path, keys: Path | None = None) -> list[Child]:
    """tx, channel and the receivers, as the command line would start them.

    ``keys``: what ``make_keys`` has made, if the link is to be encrypted.
    """
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    base = [sys.executable, "-m", "simulator.cli"]
    common = ["--config", str(folder / RUN_FILE), "--supervised", str(os.getpid())]

    def child(name: str, role: str, own: str, *arguments: str) -> Child:
        if keys:
            arguments += ("--set", f"{role}.keys={keys / own}")
        return Child(name, [*base, role, *arguments, *common], logs / f"{name}.log")

    receivers = [
        child(name, "rx", f"rx/{name}", "--set", f"rx.name={name}")
        for name in receiver_names(settings)
    ]
    tx = child("tx", "tx", f"tx/{settings.tx.name}")
    return [tx, child("channel", "channel", "channel"), *receivers]


def watch(children: Sequence[Child], folder: Path, on_progress: Callable[[], None]) -> None:
    """Until tx has finished; restarts what dies. Raises ``ChildFailed``.

    Restarts count since the last frame got its row: a long run may lose many processes.
    """
    stored = stored_frames(folder)
    while True:
        if (now := stored_frames(folder)) != stored:
            stored = now
            for child in children:
                child.restarts = child.stillborn = 0
        if tend(children):
            return
        on_progress()
        time.sleep(WATCH_S)


def tend(children: Sequence[Child]) -> bool:
    """Start again what has died; True where tx has finished. Raises ``ChildFailed`` where to start
    it again is useless."""
    for child in children:
        code = child.poll()
        if code is None:
            continue
        if child.name == "tx" and code in FINISHED:
            return True
        if code > 1 and code in EXIT_CODES:
            raise ChildFailed(child.sentence(), code)
        if code == DEFECT and not child.has_said(FIRST_WORD):
            child.stillborn += 1
        if child.stillborn > MAX_STILLBORN:  # no module, say: it will be no other next time
            raise ChildFailed(
                f"{child.name} cannot start ({child.last_words()}); see {child.log_path}.", 1
            )
        if child.restarts >= MAX_RESTARTS:
            raise ChildFailed(f"{child.name} died {MAX_RESTARTS} times; {child.sentence()}", 1)
        child.restarts += 1
        log.warning("%s ended with code %d and is started again", child.name, code)
        time.sleep(RESTART_PAUSE_S)
        child.reap(time.monotonic())
        child.start()
    return False


def stored_frames(folder: Path) -> int:
    """Rows in tx's ledger, read without disturbing it."""
    path = folder / "tx.db"
    if not path.is_file():
        return 0
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        try:
            return int(connection.execute("SELECT COUNT(*) FROM results").fetchone()[0])
        finally:
            connection.close()
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


@contextmanager
def opened(folder: Path) -> Iterator[TxLedger]:
    """The transmitter's ledger of a run folder. Raises ``StorageError``."""
    try:
        ledger = TxLedger(folder / "tx.db")
        try:
            yield ledger
        finally:
            ledger.close()
    except LedgerError as error:
        raise StorageError(str(error)) from None


def collect(folder: Path) -> RowTable:
    """The rows of a run folder from its ledger, in the order of their arrival."""
    with opened(folder) as ledger:
        return RowTable(ledger.results())


def finish(folder: Path, order: Mapping[bytes, int]) -> list[Row]:
    """Write what people read, from the ledger; returns the rows in ``order``."""
    from simulator.report.html import closing_report  # not in the memory of a child

    def place(row: Row) -> int:
        return order.get(bytes.fromhex(row["frame_id"]), len(order))

    rows = sorted(collect(folder), key=place)
    try:
        write_results(folder, rows)
        (folder / "table.md").write_text(markdown_of_points(rows), encoding="utf-8")
        write_sheet(folder, rows)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"the results cannot be written to {folder}: {reason}.") from None
    closing_report(folder, rows)
    return rows


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


def resumed(folder: Path) -> Settings:
    """The settings of an interrupted run, wherever its folder is now. Raises ``SettingsError``."""
    if not (folder / RUN_FILE).is_file():
        raise SettingsError(f"{folder} holds no {RUN_FILE}: there is no run to resume there.")
    return make_settings(folder / RUN_FILE, overrides={"out": str(folder)})


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
    run = prepare(on_this_machine(settings))
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
        endless = bool(settings.tx.source)
        return supervise(children, folder, order, on_progress, endless)


def supervise(
    children: Sequence[Child],
    folder: Path,
    order: Mapping[bytes, int],
    on_progress: OnProgress | None,
    endless: bool = False,
) -> list[Row]:
    """The processes, until tx has finished; then the rows in this ``order`` of frame ids.

    ``endless``: tx has a source; an interruption is how such a run ends.
    """
    strangers = 0 if endless else rows_of_others(folder, order)
    phase = "starting"

    def report() -> None:
        if on_progress:
            on_progress(stored_frames(folder) - strangers, len(order), phase)

    def looked() -> None:
        nonlocal phase
        phase = next_phase(phase, children)
        report()

    try:
        for child in children:
            child.start()
        try:
            watch(children, folder, looked)
        except KeyboardInterrupt:
            if not endless or not finished_first(children[0]):
                raise
        phase = "writing the results"
        report()
    finally:
        stop(children)
        if (folder / "tx.db").is_file():
            rows = finish(folder, order)
    return rows


def finished_first(tx: Child) -> bool:
    """Whether tx, which is told to stop, sends what is under way while the others still run."""
    tx.stop()
    tx.reap(time.monotonic() + STOP_S)
    return tx.poll() in FINISHED


def stop(children: Sequence[Child]) -> None:
    deadline = time.monotonic() + STOP_S
    for child in children:
        child.stop()
    for child in children:
        child.reap(deadline)
