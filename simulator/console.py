"""Standard output and error that take every character, whatever the terminal can show."""

from __future__ import annotations

import codecs
import sys
from io import TextIOWrapper

# Rich draws its tables in ASCII where it must; these signs are our own, and its ellipsis.
_ASCII = {"±": "+-", "…": "~"}


def _spell(error: UnicodeError) -> tuple[str, int]:
    """A codec error handler: a sign in ASCII, or its escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    spelt = (_ASCII.get(s) or s.encode("ascii", "backslashreplace").decode("ascii") for s in signs)
    return "".join(spelt), error.end


def take_every_character() -> None:
    """Print what the encoding of the terminal, or UTF-8, lacks as ASCII instead of failing."""
    codecs.register_error("spell", _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="spell")
