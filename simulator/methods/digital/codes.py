"""The one list of channel codes."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from simulator.errors import SettingsError
from simulator.methods.digital.block import Block, WifiBlock
from simulator.methods.digital.nr import NrLdpcBlock, NrPolarBlock

CODES: dict[str, type[Block]] = {
    "802.11n": WifiBlock,
    "5g": NrLdpcBlock,
    "5g-polar": NrPolarBlock,
}


@lru_cache(maxsize=64)
def make_block(code: str, coded: int, rate: Fraction) -> Block:
    """The block of ``coded`` bits; ``code``: a name of ``CODES``.

    Raises ``SettingsError`` for another name or a size that the code does not have, and
    ``MissingPackageError`` where 5G's package is missing.
    """
    if code not in CODES:
        raise SettingsError(f"there is no channel code {code!r}; there are {', '.join(CODES)}.")
    return CODES[code](coded, rate)
