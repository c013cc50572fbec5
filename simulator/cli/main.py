"""The command line, ``diffjscc``. Each command imports its module when it runs."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from simulator.cli.baseline import baseline
from simulator.cli.codecs import codecs
from simulator.cli.doctor import doctor
from simulator.cli.keys import keys
from simulator.cli.models import export, fetch, import_official, wrap
from simulator.cli.processes import channel, rx, tx
from simulator.cli.results import evaluate, report, watch
from simulator.cli.settings import show_settings
from simulator.cli.simulate import simulate
from simulator.cli.sweep import sweep
from simulator.cli.train_group import TRAIN
from simulator.console import take_every_character
from simulator.errors import DiffJsccError, SettingsError, StorageError
from simulator.version import __version__
from simulator.wholefile import system_error

INTERRUPTED = 130
MAX_SHOWN = 80  # characters of a name that is too long
# A full disk can show anywhere, as one that is read-only can.
STORAGE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# So can a path that may not be used, wherever it is looked at first.
DENIED_ERRNOS = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut the names of options at 80 columns
)
COMMANDS: dict[str, Callable[..., Any]] = {
    "simulate": simulate,
    "tx": tx,
    "channel": channel,
    "rx": rx,
    "evaluate": evaluate,
    "report": report,
    "watch": watch,
    "sweep": sweep,
    "baseline": baseline,
    "codecs": codecs,
    "settings": show_settings,
    "doctor": doctor,
    "fetch": fetch,
    "export": export,
    "wrap": wrap,
    "import-official": import_official,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(TRAIN, name="train")
app.add_typer(keys, name="keys")


def show_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Wireless image transmission from end to end: tx, channel and rx."""


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; a user's mistake ends in one sentence and its exit code."""
    try:
        command()
    except DiffJsccError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, SystemExit) as ended:
        # Typer makes this exit of a Ctrl-C, without a word.
        if isinstance(ended, SystemExit) and ended.code != INTERRUPTED:
            raise
        print(
            "interrupted; what was done is kept: the same command goes on from there "
            "(simulate with --resume)",
            file=sys.stderr,
        )
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        refused = system_error(error)
        told = sentence_of(refused) if refused else None
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        return told.exit_code
    return 0


def sentence_of(error: OSError) -> DiffJsccError | None:
    """The error that a user sees when the system refuses something; None for our own faults."""
    if error.errno == errno.ENAMETOOLONG:  # wherever a name is looked for first
        name = str(error.filename)
        told = name if len(name) <= MAX_SHOWN else f"{name[:MAX_SHOWN]}..."
        return SettingsError(f"a name is too long for this system ({told}); shorten it.")
    where = f" at {error.filename}" if error.filename else ""
    failed = f"storage failed{where}: {error.strerror}"
    if error.errno == errno.EROFS:
        return StorageError(f"{failed}; name another path.")
    if error.errno in DENIED_ERRNOS and where:
        return StorageError(f"{failed}; name another path, or change its permissions.")
    return StorageError(f"{failed}; make room.") if error.errno in STORAGE_ERRNOS else None


def main() -> None:
    take_every_character()
    sys.exit(guarded(app))
