"""The one list of channel codes."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from simulator.errors import SettingsError
from simulator.methods.digital.block import Block, WifiBlock
from simulator.methods.digital.nr import NrBlock


@lru_cache(maxsize=64)
def make_block(code: str, coded: int, rate: Fraction) -> Block:
    """The block of ``coded`` bits. ``code``: ``802.11n`` or ``5g``.

    Raises ``SettingsError`` for another name or a size that the code does not have, and
    ``MissingPackageError`` where 5G's package is missing.
    """
    if code == "802.11n":
        return WifiBlock(coded, rate)
    if code == "5g":
        return NrBlock(coded, rate)
    raise SettingsError(f"there is no channel code {code!r}; there are 802.11n and 5g.")
