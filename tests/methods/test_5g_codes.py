"""The codes of 5G, which sionna-no-rt brings: known points, and blocks that fill their uses."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from code_world import random_bits, sigmas

from simulator.errors import SettingsError
from simulator.methods.digital.codes import make_block
from simulator.methods.digital.modulation import QPSK
from simulator.methods.digital.transmission import transmit
from simulator.phy.streams import complex_normal

pytest.importorskip("sionna.phy", reason="the codes of 5G need the extra nr")


def test_5g_known_points():
    """(6144, 3072), 20 iterations, QPSK: 0.56 of the blocks at 1.0 dB, 0 of 100 at 1.5 dB."""
    block = make_block("5g", 6144, Fraction(1, 2))
    assert (block.information, block.codewords) == (3072, 1)
    information = random_bits((32, 3072))
    noise = complex_normal(np.random.default_rng(4), 32 * 3072).reshape(32, 3072)
    errors = [
        int((transmit(block, QPSK, information, 1, noise, db) != information).any(axis=1).sum())
        for db in (1.0, 1.5)
    ]
    assert abs(sigmas(errors[0], 32, 0.56)) < 4
    assert errors[1] <= 1


def test_5g_polar_codes():
    """Below Shannon's limit for one bit a use, 0 dB, nothing gets through; 2.5 dB above, all."""
    block = make_block("5g-polar", 1024, Fraction(1, 2))
    assert (block.information, block.codewords) == (512, 1)
    information = random_bits((200, 512))
    noise = complex_normal(np.random.default_rng(4), 200 * 512).reshape(200, 512)
    errors = {
        db: (transmit(block, QPSK, information, 1, noise, db) != information).any(axis=1).mean()
        for db in (-1.0, 2.5)
    }
    assert errors[-1.0] > 0.9 and errors[2.5] < 0.02


@pytest.mark.parametrize(
    ("code", "coded", "codewords"), [("5g", 24_001, 3), ("5g-polar", 4_001, 4)]
)
def test_a_block_fills_its_uses(code, coded, codewords):
    block = make_block(code, coded, Fraction(5, 6))
    bits = random_bits((2, block.information))
    sent = block.encode(bits)
    assert sent.shape == (2, coded) and block.codewords == codewords
    llr = np.where(sent, -20, 20).astype(np.float32)
    np.testing.assert_array_equal(block.decode(llr), bits)


@pytest.mark.parametrize(
    ("code", "coded", "rate"), [("5g", 12, "1/2"), ("5g-polar", 30, "1/2"), ("5g-polar", 40, "5/6")]
)
def test_a_block_can_be_too_short(code, coded, rate):
    with pytest.raises(SettingsError, match=r"5G \w+ has no code of \d+ information"):
        make_block(code, coded, Fraction(rate))
