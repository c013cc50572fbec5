"""Whose a run folder is, settled before a start writes anything.

Run -> compare with the run.toml that is there -> lock -> ours
"""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from simulator.errors import DiffJsccError, StorageError, path_from
from simulator.prepare import Run, absolute, said
from simulator.runfolder import RUN_FILE, count_results, open_folder
from simulator.settings import Settings, make_settings
from simulator.toml import read_toml

LOCK = ".lock"
LEDGER = "tx.db"
SWEEP = "sweep.toml"
REFUSALS = (3, 4, 5, 6, 9)  # exit codes of what was wrong from the start
# What may differ where a run goes on: how the work is spread, and over which addresses.
FREE = {
    "name", "out", "receivers", "durability", "keys", "log_format", "plugins",
    "tx.threads", "tx.window", "tx.wait_receivers", "tx.save_originals", "tx.max_failures",
    "tx.connect", "tx.keys", "tx.observe", "channel.observe", "rx.observe",
    "tx.token", "tx.returns", "tx.return_format",
    "tx.keep", "tx.roll_bytes", "rx.keep", "rx.affinity",
    "channel.queue_frames", "channel.queue_bytes", "channel.client_frames",
    "channel.client_bytes", "channel.client_rate_hz", "channel.max_lost_receivers",
    "channel.front", "channel.back", "channel.watch", "channel.keys", "channel.insecure",
    "rx.name", "rx.offload", "rx.batch", "rx.device", "rx.threads", "rx.slots",
    "rx.save_images", "rx.show_steps", "rx.drain_s", "rx.decode_s", "rx.connect", "rx.keys",
}  # fmt: skip


@contextmanager
def locked(folder: Path, name: str = LOCK, doing: str = "run") -> Iterator[None]:
    """Alone at work in a folder. The system drops the lock with the process, however it ends.

    Raises ``StorageError`` where another process is at work there.
    """
    try:
        file = (folder / name).open("wb")
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write in {folder}: {reason}.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StorageError(f"another {doing} is at work in {folder}; wait for it.") from None
        yield


@contextmanager
def gone_if_refused(folder: Path) -> Iterator[None]:
    """What was made of a folder that is new or empty goes again where the command inside is
    refused, by whichever of its processes, before any frame has a row."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    empty = folder.is_dir() and not any(folder.iterdir())
    try:
        yield
    except DiffJsccError as error:
        if (new or empty) and error.exit_code in REFUSALS and not has_rows(folder):
            shutil.rmtree(folder, ignore_errors=True)
            if empty:
                folder.mkdir(exist_ok=True)
            for parent in new[1:]:
                with suppress(OSError):  # another run may have begun beside this one
                    parent.rmdir()
        raise


def has_rows(folder: Path) -> bool:
    ledgers = [folder / LEDGER, *folder.glob("rx-*.db")]
    return any(rows_in(path) for path in ledgers if path.is_file())


def rows_in(ledger: Path) -> bool:
    try:
        return count_results(ledger) > 0
    except sqlite3.Error as error:
        # One whose process was stopped while it was made has no table yet; else nobody knows.
        return "no such table" not in str(error)


@contextmanager
def claimed(run: Run) -> Iterator[Path]:
    """The folder of a run, which is ours alone inside: new, or of the same run, which goes on.

    Raises ``StorageError``, with nothing written, where the folder
    holds another run or another process is at work in it.
    """
    check_same(run)
    with gone_if_refused(path_from(run.settings.out)):
        folder = open_folder(run.settings)
        with locked(folder):
            check_same(run)  # another start may have been first
            yield folder


@contextmanager
def claimed_by_receiver(settings: Settings) -> Iterator[Path]:
    """The folder of a receiver, which serves any run and may change its settings.

    Raises ``StorageError``, with nothing written, as ``claimed`` does.
    """
    folder = path_from(said(settings.out))
    if (run := run_of(folder)) or (folder / LEDGER).exists():
        raise StorageError(
            f"{folder} holds {f'run {run}' if run else 'the ledger of a run'}; give this "
            f"receiver a folder of its own with --out."
        )
    with gone_if_refused(folder):
        folder = open_folder(settings)
        with locked(folder, f".{settings.rx.name}.lock", f"receiver {settings.rx.name}"):
            yield folder


def run_of(folder: Path) -> str:
    """The name of the run that a folder holds; empty where it holds none."""
    path = folder / RUN_FILE
    return make_settings(path).run if path.is_file() else ""


def check_same(run: Run) -> None:
    """Whether a start may go on with what is in its folder."""
    settings = run.settings
    folder = path_from(settings.out)
    path = folder / RUN_FILE
    if (folder / SWEEP).exists():
        raise StorageError(f"{folder} holds a sweep; name another folder with --out.")
    if not path.is_file():
        if (folder / LEDGER).exists():
            raise StorageError(
                f"{folder} holds the ledger of a run, but no {RUN_FILE}; put it back, or use "
                f"another folder with --out."
            )
        return
    before = make_settings(path)
    if not before.run:
        raise StorageError(
            f"{folder} is the folder of receiver {before.rx.name}; name another with --out."
        )
    was, now = decides(before), decides(settings)
    record = read_toml(path).get("provenance", {})
    known = {name: value for name, value in run.made_with.items() if name in record}
    was |= {name: record[name] for name in known}
    now |= known
    if other := [name for name in now if now[name] != was.get(name)]:
        name = other[0]
        raise StorageError(
            f"{folder} holds run {before.run}, which was made with another {name} "
            f"({was.get(name)!r}, not {now[name]!r}); give the same settings again, continue it "
            f"as it was (simulate with --resume alone), or name another folder with --out."
        )


def decides(settings: Settings) -> dict[str, Any]:
    """The settings that rows depend on, by name, with absolute paths."""
    tree = absolute(settings).model_dump()
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        inside = value if isinstance(value, dict) else None
        flat |= {f"{name}.{k}": v for k, v in inside.items()} if inside else {name: value}
    return {name: value for name, value in flat.items() if name not in FREE}
