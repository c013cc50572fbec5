"""Text files are UTF-8, whatever the locale of the machine and whatever editor wrote them."""

from __future__ import annotations

import codecs
from pathlib import Path

_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


def read_text(path: Path) -> str:
    """The text of a file, without a byte order mark and with ``\\n`` at the end of each line.

    Raises ``UnicodeError`` with a clause about the file, such as "it is UTF-16 text; save it as
    UTF-8", and ``OSError``.
    """
    return decode_text(path.read_bytes())


def decode_text(data: bytes) -> str:
    """As ``read_text``, of the bytes of a file."""
    # Without a mark, UTF-16 shows by the zero byte of its first character.
    if data.startswith(_WIDE) or b"\0" in data[:2]:
        raise UnicodeError("it is UTF-16 text; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UnicodeError(
            f"line {line} has a byte that is not UTF-8 ({data[error.start]:#04x}); save it as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
