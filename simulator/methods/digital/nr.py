"""5G NR LDPC (3GPP TS 38.212), by the package sionna-no-rt.

    information --equal segments--> LDPC5GEncoder --> coded bits;  LLRs --> LDPC5GDecoder

Rate matching is the standard's, without its CRC of each code block: the frame has one of its own.
"""

from __future__ import annotations

import logging
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import SettingsError, missing_package
from simulator.methods.digital.block import Block, starts_of

Bits = NDArray[np.uint8]
MAX_INFORMATION = 8448  # of a code block of base graph 1
MIN_INFORMATION = 12
ITERATIONS = 20
BATCH = 32


def sionna_ldpc() -> Any:
    """The package's module of LDPC codes. Raises ``MissingPackageError``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from sionna.phy.fec import ldpc
    except ImportError:
        raise missing_package("5G LDPC", "sionna-no-rt", "nr") from None
    return ldpc


class NrBlock(Block):
    """Equal code blocks; the few coded bits that do not divide among them are zeros."""

    def __init__(self, coded: int, rate: Fraction) -> None:
        ldpc = sionna_ldpc()
        count = max(1, -(-int(coded * rate) // MAX_INFORMATION))
        n, k = coded // count, int(coded // count * rate)
        if k < MIN_INFORMATION:
            raise SettingsError(f"5G LDPC has no code of {k} information bits.")
        self.coded, self.information = coded, count * k
        self.starts = starts_of(np.full(count, k))
        self._n, self._k = n, k
        logging.getLogger("sionna").setLevel(logging.ERROR)
        self._encoder = ldpc.LDPC5GEncoder(k, n)
        self._decoder = ldpc.LDPC5GDecoder(self._encoder, num_iter=ITERATIONS, hard_out=True)

    def encode(self, information: Bits) -> Bits:
        import torch

        words = torch.from_numpy(information.reshape(-1, self._k).astype(np.float32))
        coded = self._encoder(words).numpy().astype(np.uint8).reshape(len(information), -1)
        return np.pad(coded, ((0, 0), (0, self.coded - coded.shape[1])))

    def decode(self, llr: NDArray[np.float32]) -> Bits:
        import torch

        # The package's LLRs are log P(1) / P(0).
        words = torch.from_numpy(-llr[:, : self.codewords * self._n].reshape(-1, self._n))
        parts = [self._decoder(part) for part in torch.split(words, BATCH)]
        bits = torch.cat(parts).numpy().astype(np.uint8)
        return bits.reshape(len(llr), -1)
