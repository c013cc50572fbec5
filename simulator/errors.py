"""Every error that a person can act on, with the exit code it ends a command with.

A message says what was wrong, where, and what to do. Anything else that escapes is a defect
of this project and ends with a traceback and exit code 1. The one mistake that every folder of
the project can meet, a path that no disk can have, is found here.
"""

from __future__ import annotations

import errno
from pathlib import Path

EXIT_CODES = {
    0: "everything asked for was done",
    1: "a defect of this project (a traceback follows)",
    2: "the command line was not understood",
    3: "bad input: an image, a folder, a key, a setting or a configuration file",
    4: "weights or a model are missing, damaged or of another kind",
    5: "an address could not be used: busy, malformed, not permitted, or nobody answers",
    6: "the other side refused: key, protocol version, settings or codec do not match",
    7: "the run is complete, but some images were refused or given up; the rows say which",
    8: "storage: the disk is full, read-only, or a ledger belongs to another run",
    9: "an optional package is missing",
    130: "interrupted; start again with --resume",
}


class DiffJsccError(Exception):
    """Base of the tree. ``str(error)`` is one clear sentence."""

    exit_code = 1


class SettingsError(DiffJsccError):
    """A setting, a configuration file or an argument is wrong."""

    exit_code = 3


class KeysError(DiffJsccError):
    """A key, its file or a key folder cannot be used."""

    exit_code = 3


class ImageError(DiffJsccError):
    """An image or an image folder cannot be used."""

    exit_code = 3


class ModelError(DiffJsccError):
    """A weight file or model folder is missing, damaged or of another kind."""

    exit_code = 4


class AddressError(DiffJsccError):
    """An endpoint cannot be bound or reached."""

    exit_code = 5


class RejectedError(DiffJsccError):
    """The channel refused this process: by REJECT, or its key by the handshake."""

    exit_code = 6


class DeliveryError(DiffJsccError):
    """What was wanted of one frame does not come: it was dropped, given up, or not refined."""

    exit_code = 7


class LinkClosed(DiffJsccError):
    """A link that was closed or stopped was given a frame, or asked for one."""

    exit_code = 3


class IncompleteError(DiffJsccError):
    """The run ended with images that were refused or given up."""

    exit_code = 7


class StorageError(DiffJsccError):
    """A run folder or ledger cannot be written or read."""

    exit_code = 8


class MissingPackageError(DiffJsccError):
    """An extra is not installed."""

    exit_code = 9


def missing_package(what: str, packages: str, extra: str, instead: str = "") -> MissingPackageError:
    """``what`` needs ``packages``, which an ``extra`` of pyproject.toml brings (or two, with a
    comma between); ``instead``: what can be done without them."""
    otherwise = f", or {instead}" if instead else ""
    return MissingPackageError(f"{what} needs {packages}: {add_extra(extra)}{otherwise}.")


def add_extra(extra: str) -> str:
    """The command that adds an extra to this installation, be it a wheel or a checkout.

    pip takes what is installed over anything that an index may have, and reads from it what the
    extra needs.
    """
    return f'pip install "diffjscc[{extra}]"'


_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def path_from(text: str | Path) -> Path:
    """A path as people write it, with ``~`` for their home; something may be there or not.

    Raises ``SettingsError`` where the system takes no such path.
    """
    told = str(text).encode("utf-8", "backslashreplace").decode()
    if not told:
        raise SettingsError("an empty text is no path; is a variable of the shell not set?")
    told = told if len(told) <= 100 else f"{told[:100]}..."
    try:
        path = Path(text).expanduser()
        path.stat()
    except RuntimeError:
        raise SettingsError(f"{told}: there is no such user on this machine.") from None
    except ValueError:  # a zero byte
        raise SettingsError(f"{told!r} cannot be a path; write another.") from None
    except OSError as error:
        if error.errno not in _ABSENT:
            raise SettingsError(f"{told} cannot be used ({error.strerror}).") from None
    return path
