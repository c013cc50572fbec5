"""Information bits through code, modulation and channel, and back.

    information --> coded bits --> symbols --h y + n--> zero forcing --> LLRs --> information

K symbols for K channel uses; the LLRs of an image in a fade are as small as abs(h)^2 says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.methods.digital.block import Block
from simulator.methods.digital.modulation import Modulation
from simulator.phy.equalize import TINY_GAIN, equalize
from simulator.phy.propagation import apply_channel, noise_variance

Bits = NDArray[np.uint8]


def transmit(
    block: Block,
    modulation: Modulation,
    information: Bits,
    h: complex,
    noise: NDArray[np.complex64],
    snr_db: float,
) -> Bits:
    """(B, information) bits as the receiver decodes them, knowing ``h`` and the SNR.

    ``noise``: (B, K) draws of CN(0, 1), scaled here; K = block.coded / modulation.bits.
    """
    symbols = modulation.map(block.encode(information))
    sigma2 = noise_variance(snr_db)
    gain = np.full(1, h, np.complex64)
    received = apply_channel(symbols, gain, noise * np.float32(sigma2**0.5))
    equalized = equalize(received, gain)
    return block.decode(modulation.demap(equalized, sigma2 / max(abs(h) ** 2, TINY_GAIN)))
