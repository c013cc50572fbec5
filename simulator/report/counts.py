"""How much there is, in four words, and how each is counted.

images    different pictures
repeats   how often a picture is sent at one operating point
frames    sendings: pictures x repeats x operating points
refused   frames without a result: refused at the source, given up, or outside of a method
dropped   frames that made way for newer ones before they were sent
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from simulator.link.rows import Row, is_lost
from simulator.metrics.limits import PERFECT_DB


def plural(count: int, word: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def images_of(rows: Iterable[Row]) -> int:
    return len({row["image"] for row in rows})


def repeats_of(rows: Iterable[Row]) -> int:
    """The most frames that an image has, of rows of one operating point and method."""
    return max(Counter(row["image"] for row in rows).values(), default=0)


def refused_of(rows: Iterable[Row]) -> int:
    return sum(map(is_lost, rows))


def dropped_of(rows: Iterable[Row]) -> int:
    return sum(row["status"] == "dropped" for row in rows)


def perfect_of(psnrs: Iterable[float | None]) -> int:
    """How many are of images without any error."""
    return sum(value is not None and value >= PERFECT_DB for value in psnrs)


def counts_text(groups: Sequence[Sequence[Row]]) -> str:
    """``24 images``, ``1 image, 10 repeats``, ``41 images, 6 frames refused``: of rows of one
    operating point and method each. Images that have no result are not among the first."""
    counts = sorted({images_of(r for r in rows if r["status"] == "delivered") for rows in groups})
    low, high = (counts[0], counts[-1]) if counts else (0, 0)
    told = plural(high, "image") if low == high else f"{low} to {high} images"
    repeats = max(map(repeats_of, groups), default=0)
    told += f", {repeats} repeats" if repeats > 1 else ""
    for word, count_of in (("refused", refused_of), ("dropped", dropped_of)):
        if count := sum(map(count_of, groups)):
            told += f", {plural(count, 'frame')} {word}"
    return told


def perfect_text(count: int) -> str:
    """What a table says below it, where an image arrived without any error."""
    if not count:
        return ""
    verb = "has" if count == 1 else "have"
    return (
        f"{plural(count, 'frame')} {verb} no error at all; PSNR counts as {PERFECT_DB:g} dB there"
    )
