"""Hybrid ARQ with chase combining (Chase 1985): a frame is sent again until its CRC agrees.

    K uses = ROUNDS x K / ROUNDS:   send -> LLRs, added to those of before -> decode -> CRC?

Each round sends the same coded bits in K / ROUNDS uses, under the gains of the frame, with noise
and lost packets of its own. A frame that is right after one round has taken a quarter of the uses:
``k`` of its row says how many. That the receiver asks for another round costs nothing.
"""

from __future__ import annotations

import numpy as np

from simulator.chain import Draw
from simulator.methods.digital import frame
from simulator.methods.digital.block import Block
from simulator.methods.digital.mcs import ALL, Scheme
from simulator.methods.digital.modulation import Bits, Mapper
from simulator.methods.digital.success import success
from simulator.methods.digital.system import BestMcs, Pixels
from simulator.methods.digital.transmission import llrs
from simulator.methods.method import Point

ROUNDS = 4


class HarqMcs(BestMcs):
    """The scheme with the best expected PSNR after all rounds, of a transmitter that knows the
    average SNR."""

    most_rounds = ROUNDS

    def choose(self, image: Pixels, point: Point, draw: Draw, k: int) -> Scheme:
        self.check(point, draw)
        return self.best(image, k, lambda mcs: success(draw, self.code, mcs, k, ROUNDS), ALL)

    def arrived(
        self, block: Block, modulation: Mapper, bits: Bits, draw: Draw
    ) -> tuple[bytes | None, int]:
        """The payload as soon as the CRC agrees, and the rounds until then."""
        symbols = modulation.map(block.encode(bits[None]))[0]
        total = np.zeros((1, block.coded), np.float32)
        for number in range(ROUNDS):
            heard = draw.heard([draw.receive(symbols, number)], len(symbols)).heard
            total += llrs(modulation, heard)
            payload = frame.unpack(block.decode(total)[0])
            if payload is not None:
                return payload, number + 1
        return None, ROUNDS
