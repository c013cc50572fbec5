"""Packets that are lost: statistics of the model, and what the receiver makes of them."""

import numpy as np
import pytest

from simulator.air import PacketSettings
from simulator.phy.packets import Loss, Packets
from simulator.phy.reception import Heard
from simulator.phy.state import ChannelState
from simulator.phy.streams import complex_normal, stream

N = 200_000


def generator(seed: int = 0) -> np.random.Generator:
    return stream(bytes([seed]) * 32, "packets", 2)


def test_single_losses_have_their_rate_and_no_memory() -> None:
    lost = Loss(good=0.1).draw(generator(), N)
    assert lost.mean() == pytest.approx(0.1, abs=4 * (0.1 * 0.9 / N) ** 0.5)
    assert (lost[1:] & lost[:-1]).mean() == pytest.approx(0.01, abs=0.002)


def test_bursts_are_those_of_gilbert_and_elliott() -> None:
    """Mean rate, mean length of a burst 1 / r, and the chance that a loss follows a loss."""
    loss = Loss(good=0.0, bad=1.0, good_to_bad=0.02, bad_to_good=0.25)
    lost = loss.draw(generator(), N)
    assert loss.rate == pytest.approx(0.02 / 0.27)
    assert lost.mean() == pytest.approx(loss.rate, rel=0.06)
    ends = np.flatnonzero(np.diff(np.concatenate([[0], lost, [0]])))
    lengths = ends[1::2] - ends[::2]
    assert lengths.mean() == pytest.approx(4, rel=0.05)
    assert lost[1:][lost[:-1]].mean() == pytest.approx(0.75, abs=0.02)
    # Geometric: a burst that has lasted goes on as a new one would.
    assert (lengths > 4).mean() == pytest.approx(0.75**4, abs=0.03)


def test_both_states_may_lose() -> None:
    loss = Loss(good=0.05, bad=0.6, good_to_bad=0.1, bad_to_good=0.3)
    assert loss.draw(generator(), N).mean() == pytest.approx(loss.rate, rel=0.05)
    assert loss.rate == pytest.approx(0.75 * 0.05 + 0.25 * 0.6)


def test_a_frame_may_begin_in_a_burst() -> None:
    loss = Loss(good_to_bad=0.02, bad_to_good=0.02)
    firsts = [loss.draw(generator(seed), 1)[0] for seed in range(250)]
    assert 0.35 < np.mean(firsts) < 0.65


@pytest.mark.parametrize("interleaved", [False, True])
def test_neighbours_share_a_packet_or_not(interleaved: bool) -> None:
    packets = Packets(4, interleaved)
    of = packets.of_symbols(10)
    assert packets.count(10) == 3
    expected = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0] if interleaved else [0] * 4 + [1] * 4 + [2] * 2
    assert of.tolist() == expected
    assert np.bincount(of).max() <= 4
    assert packets.erased(np.zeros(3, bool), 10) is None
    erased = packets.erased(np.array([False, True, False]), 10)
    assert erased is not None and np.array_equal(erased, of == 1)
    with pytest.raises(ValueError, match="2 packets instead of 3"):
        packets.erased(np.zeros(2, bool), 10)


def test_no_packets() -> None:
    assert Packets().count(10) == 0 and Packets().erased(np.empty(0, bool), 10) is None


def test_lost_symbols_have_no_weight() -> None:
    payload = complex_normal(generator(), 6)
    heard = Heard(payload, ChannelState(10.0, np.array([2j], np.complex64)))
    erased = np.array([0, 1, 0, 0, 1, 0], bool)
    got = heard.without(erased)
    assert heard.without(None) is heard
    for equaliser in ("zero-forcing", "mmse"):
        symbols = got.equalised(equaliser)
        assert np.all(symbols[erased] == 0)
        assert np.array_equal(symbols[~erased], heard.equalised(equaliser)[~erased])
    noise = got.noise_variance("zero-forcing")
    assert noise[0] == pytest.approx(0.1 / 4) and np.all(noise[erased] > 1e9)


@pytest.mark.parametrize("fields", [{"loss": 0.1}, {"good_to_bad": 0.1}])
def test_losses_need_packets(fields) -> None:
    with pytest.raises(ValueError, match="give their size"):
        PacketSettings(**fields)
