"""Files that are there whole or not at all: written beside their place, then moved into it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from simulator.errors import StorageError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how a library of Rust says which one it was


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what becomes ``path`` when the block ends.

    If the block fails, what was at ``path`` stays. Raises ``StorageError`` where it cannot be
    written.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except Exception as error:
        failed = system_error(error)
        if failed is None:
            raise
        told = what_to_do(failed, "name another folder, or mend this one")
        raise StorageError(f"{path} cannot be written: {told}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def what_to_do(failed: OSError, otherwise: str) -> str:
    """Why the system refused to write, and the remedy: room, or ``otherwise``."""
    remedy = "make room" if failed.errno in FULL else otherwise
    return f"{failed.strerror or failed}; {remedy}"


def write_whole(path: Path, content: str | bytes) -> None:
    """A file; a text is written in UTF-8. Raises ``StorageError``."""
    data = content.encode() if isinstance(content, str) else content
    with whole(path) as temporary:
        temporary.write_bytes(data)


def system_error(error: Exception) -> OSError | None:
    """What the system refused, also where a library of Rust has made a text of it; None for any
    other error."""
    if isinstance(error, OSError):
        return error
    found = OS_ERROR.search(str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else None
