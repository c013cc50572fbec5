"""How far two captions say the same: the words that they share.

Words are compared as sets, in lower case and without punctuation: a caption of keywords has no
grammar, and a word said twice says no more. Common words (a, of, the) count as any other.
"""

from __future__ import annotations

import re


def words(caption: str) -> frozenset[str]:
    """The distinct words, letters and digits of any script; apostrophes stay inside a word."""
    return frozenset(re.findall(r"[^\W_]+(?:'[^\W_]+)*", caption.lower()))


def f1(caption: str, reference: str) -> float:
    """2 |A and B| / (|A| + |B|), of precision and recall the harmonic mean; 1 for empty ones."""
    a, b = words(caption), words(reference)
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0


def jaccard(caption: str, reference: str) -> float:
    """|A and B| / |A or B|; 1 for two empty ones."""
    a, b = words(caption), words(reference)
    return len(a & b) / len(a | b) if a or b else 1.0
