"""A text and a sketch as bytes, in the side information of ``sketch``.

    check (2 bytes) | one stream of the range coder: text in UTF-8, a zero, the sketch row by row

The sketch is coded without loss as in JBIG (ITU-T T.82): each cell with the counts of its context,
ten cells above it and to its left. Letters have the counts of the letter before, which start from
``FAMILIAR``, so that a caption of forty letters is worth coding at all. All is whole numbers
(``range_coder``).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from simulator.jscc.range_coder import Counts, DamagedError, Reader, Writer

MAX_TEXT_BYTES = 500
CHECK_BYTES = 2
FIRST = (24, 2)  # counts that a context starts with: most cells are no edge
FAMILIAR = (
    "a photo of a man and a woman, the face of a young person with long brown hair smiling; "
    "two people standing in front of a white house with a red roof and a green door; a black "
    "dog running on the beach; a group of children playing in the grass near some trees; a cat "
    "sitting on top of a table; a large building with windows on the side of a city street; "
    "a blue sky over snow covered mountains; a boat in the water of a lake, seashore, valley; "
    "a close up of a yellow flower with green leaves; an old car parked at the road; a bird "
    "flying above the ocean with clouds; a girl wearing a hat and holding a ball in her hands; "
    "a small wooden bridge by the river; a motorcycle race; a wall with different colors, "
    "an image of the interior, a stone church, an orange fruit, boys, horses and sheep are in "
    "a field while others ride bikes down the hill."
)


@dataclass(frozen=True, eq=False)
class Beside:
    """What is said of an image beside its symbols. ``text``: empty where there is none;
    ``edges``: (h, w) bool, None where there is no sketch."""

    text: str = ""
    edges: np.ndarray | None = None


NOTHING = Beside()


def problem_of(text: str) -> str | None:
    """Why a text cannot be sent, as the end of a sentence about it; None where it can."""
    if any(ord(letter) < 32 for letter in text):
        return "has control characters"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "is not Unicode"
    if size > MAX_TEXT_BYTES:
        return f"has {size} bytes, more than {MAX_TEXT_BYTES}"
    return None


def write_beside(said: Beside) -> bytes:
    """Bytes, none where nothing is said. ``text``: one that ``problem_of`` has nothing against."""
    if not said.text and said.edges is None:
        return b""
    writer, last, models = Writer(), 0, _letters()
    for letter in (*said.text.encode(), 0):
        writer.put(letter, models[last])
        last = letter
    if said.edges is not None:
        bits = iter(said.edges.ravel().tolist())

        def put(counts: Counts) -> int:
            bit = int(next(bits))
            writer.put(bit, counts)
            return bit

        _walk(said.edges.shape, put)
    coded = writer.done()
    return _check_of(coded) + coded


def read_beside(side: bytes, shape: tuple[int, int] | None) -> Beside:
    """``shape``: of the sketch, None where there is none. Raises ``DamagedError`` for bytes that
    ``write_beside`` does not make; takes a time that ``shape`` decides, whatever the bytes are."""
    if not side:
        return NOTHING
    coded = side[CHECK_BYTES:]
    if side[:CHECK_BYTES] != _check_of(coded):
        raise DamagedError("its check does not fit")
    reader = Reader(coded)
    text = _read_text(reader)
    said = Beside(text, None if shape is None else np.array(_walk(shape, reader.get), bool))
    if write_beside(said) != side:  # cut off, or something follows
        raise DamagedError("other bytes say the same")
    return said


def _check_of(coded: bytes) -> bytes:
    return (zlib.crc32(coded) & 0xFFFF).to_bytes(CHECK_BYTES, "big")


def _read_text(reader: Reader) -> str:
    letters, last, models = bytearray(), 0, _letters()
    while last := reader.get(models[last]):
        letters.append(last)
        if len(letters) > MAX_TEXT_BYTES:
            raise DamagedError(f"its text has more than {MAX_TEXT_BYTES} bytes")
    try:
        text = letters.decode()
    except UnicodeDecodeError:
        raise DamagedError("its text is not UTF-8") from None
    if problem := problem_of(text):
        raise DamagedError(f"its text {problem}")
    return text


def _walk(shape: tuple[int, ...], code: Callable[[Counts], int]) -> list[list[int]]:
    """The rows of a sketch of ``shape``: ``code`` writes or reads the next cell under its counts.

    A context is the cells ``o`` about the next one, ``x``; beyond the border there is no edge.

          o o o
        o o o o o
        o o x
    """
    models: dict[int, Counts] = {}
    width = shape[1]
    first = second = [0] * (width + 4)  # rows above, with two cells more at each end
    rows = []
    for _ in range(shape[0]):
        row = [0] * (width + 4)
        for x in range(width):
            context = (
                second[x + 1] | second[x + 2] << 1 | second[x + 3] << 2
                | first[x] << 3 | first[x + 1] << 4 | first[x + 2] << 5
                | first[x + 3] << 6 | first[x + 4] << 7
                | row[x] << 8 | row[x + 1] << 9
            )  # fmt: skip
            counts = models.get(context)
            if counts is None:
                counts = models[context] = Counts(FIRST)
            row[x + 2] = code(counts)
        second, first = first, row
        rows.append(row[2:-2])
    return rows


def _letters() -> list[Counts]:
    """One for each letter before; both ends begin with the same."""
    return [Counts(each) for each in _familiar()]


@cache
def _familiar() -> list[list[int]]:
    models = [Counts([1] * 256) for _ in range(256)]
    for sentence in FAMILIAR.split("; "):
        last = 0
        for letter in (*sentence.encode(), 0):
            models[last].add(letter)
            last = letter
    return [model.each for model in models]
