"""5G NR's codes (3GPP TS 38.212), by the package sionna-no-rt: LDPC, and polar codes.

    information --equal segments--> encoder --> coded bits;  LLRs --> decoder

Rate matching is the standard's. A polar code has the standard's CRC of each block, by which its
list decoder chooses; an LDPC code has none here: the frame has one of its own.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from simulator.errors import SettingsError, missing_package
from simulator.methods.digital.block import Block, starts_of

Bits = NDArray[np.uint8]
LDPC_ITERATIONS = 20
POLAR_LIST = 8
BATCH = 32


def sionna_fec(kind: str) -> Any:
    """The package's module of ``ldpc`` or ``polar`` codes. Raises ``MissingPackageError``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = import_module(f"sionna.phy.fec.{kind}")
    except ImportError:
        raise missing_package(f"5G {kind.upper()}", "sionna-no-rt", "nr") from None
    logging.getLogger("sionna").setLevel(logging.ERROR)
    return module


class NrBlock(Block):
    """Equal code blocks; the few coded bits that do not divide among them are zeros.

    A subclass says how many there are and which coder each has.
    """

    name: ClassVar[str]
    least: ClassVar[int]  # information bits of a code block

    def __init__(self, coded: int, rate: Fraction) -> None:
        count = self.count(coded, rate)
        n, k = coded // count, int(coded // count * rate)
        if k < self.least:
            raise SettingsError(f"5G {self.name} has no code of {k} information bits.")
        self.coded, self.information = coded, count * k
        self.starts = starts_of(np.full(count, k))
        self._n, self._k = n, k
        self._encoder, self._decoder = self.coders(k, n)

    @staticmethod
    def count(coded: int, rate: Fraction) -> int:
        """Code blocks of a frame."""
        raise NotImplementedError

    @staticmethod
    def coders(k: int, n: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """(B, k) bits -> (B, n), and (B, n) LLRs, log P(1) / P(0), -> (B, k)."""
        raise NotImplementedError

    def encode(self, information: Bits) -> Bits:
        import torch

        words = torch.from_numpy(information.reshape(-1, self._k).astype(np.float32))
        coded = self._encoder(words).numpy().astype(np.uint8).reshape(len(information), -1)
        return np.pad(coded, ((0, 0), (0, self.coded - coded.shape[1])))

    def decode(self, llr: NDArray[np.float32]) -> Bits:
        import torch

        words = torch.from_numpy(-llr[:, : self.codewords * self._n].reshape(-1, self._n))
        parts = [self._decoder(part) for part in torch.split(words, BATCH)]
        bits = torch.cat(parts).numpy().astype(np.uint8)
        return bits.reshape(len(llr), -1)


class NrLdpcBlock(NrBlock):
    """Code blocks of base graph 1, as large as they may be."""

    name, least = "LDPC", 12
    largest = 8448  # information bits

    @staticmethod
    def count(coded: int, rate: Fraction) -> int:
        return max(1, -(-int(coded * rate) // NrLdpcBlock.largest))

    @staticmethod
    def coders(k: int, n: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
        ldpc = sionna_fec("ldpc")
        encoder = ldpc.LDPC5GEncoder(k, n)
        return encoder, ldpc.LDPC5GDecoder(encoder, num_iter=LDPC_ITERATIONS, hard_out=True)


class NrPolarBlock(NrBlock):
    """Code blocks as the uplink's control channel has them, of at most 1,024 coded bits; a list of
    eight paths. A rate counts information bits: the CRC of each block is paid beside them."""

    name, least = "polar", 20  # below, the standard's CRC is another one
    longest = 1024  # coded bits
    crc = 11

    @staticmethod
    def count(coded: int, rate: Fraction) -> int:
        return max(1, -(-coded // NrPolarBlock.longest))

    @staticmethod
    def coders(k: int, n: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
        if k + NrPolarBlock.crc > n:
            raise SettingsError(f"5G polar has no code of {k} information in {n} coded bits.")
        polar = sionna_fec("polar")
        encoder = polar.Polar5GEncoder(k, n)
        return encoder, polar.Polar5GDecoder(encoder, "SCL", POLAR_LIST)
