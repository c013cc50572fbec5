"""Information bits through code, modulation and channel, and back.

    information --> coded bits --> symbols --channel--> zero forcing --> LLRs --> information

K symbols for K channel uses; the LLRs of symbols in a fade are as small as abs(h)^2 says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.chain import Draw
from simulator.methods.digital.block import Block
from simulator.methods.digital.modulation import Mapper
from simulator.phy.equalize import TINY_GAIN
from simulator.phy.propagation import apply_channel, noise_variance
from simulator.phy.reception import Heard
from simulator.phy.state import ChannelState

Bits = NDArray[np.uint8]


def send(block: Block, modulation: Mapper, information: Bits, draw: Draw) -> Bits:
    """(information,) bits of one frame as the receiver decodes them, through the chain's channel.

    ``modulation``: of these coded bits. The symbols go behind the pilots that the channel asks for.
    """
    symbols = modulation.map(block.encode(information[None]))[0]
    bits: Bits = decoded(block, modulation, draw.transmit(symbols).heard)[0]
    return bits


def transmit(
    block: Block,
    modulation: Mapper,
    information: Bits,
    h: complex,
    noise: NDArray[np.complex64],
    snr_db: float,
) -> Bits:
    """(B, information) bits of many frames under one gain that both ends know.

    ``noise``: (B, K) draws of CN(0, 1), scaled here.
    """
    symbols = modulation.map(block.encode(information))
    gain = np.full(1, h, np.complex64)
    received = apply_channel(symbols, gain, noise * np.float32(noise_variance(snr_db) ** 0.5))
    return decoded(block, modulation, Heard(received, ChannelState(snr_db, gain)))


def decoded(block: Block, modulation: Mapper, heard: Heard) -> Bits:
    """(B, information) bits; a single frame is a batch of one."""
    return block.decode(llrs(modulation, heard))


def llrs(modulation: Mapper, heard: Heard) -> NDArray[np.float32]:
    """(B, coded) of the bits of the symbols, behind zero forcing."""
    power = np.abs(heard.h.astype(np.complex128)) ** 2
    n0 = heard.state.noise_variance + heard.error
    variance = n0 / np.maximum(power, TINY_GAIN)
    equalised = np.atleast_2d(heard.equalised("zero-forcing"))
    return modulation.demap(equalised, variance)
