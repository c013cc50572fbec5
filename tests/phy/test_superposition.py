"""Two users on one medium: the rates of the multiple-access channel, and what each user sees."""

import math

import numpy as np
import pytest

from simulator.phy.cancellation import cancelled, leak_of
from simulator.phy.superposition import User, View, scrambling, stronger, superposed

K = 20_000
N0 = 0.1
BOTH = (User(0.8, 1.0, K), User(0.2, 0.5 - 1.2j, K))


def white(seed: int, k: int = K) -> np.ndarray:
    """(k,) complex64 of unit variance."""
    pairs = np.random.default_rng(seed).standard_normal((k, 2)) / 2**0.5
    return (pairs @ np.array([1, 1j])).astype(np.complex64)


def test_powers_and_gains_add_up_and_the_shorter_frame_falls_silent() -> None:
    sent = white(1), white(2, K // 4)
    arrived = superposed(BOTH, sent)
    assert arrived.dtype == np.complex64 and len(arrived) == K
    alone = np.complex64(BOTH[0].amplitude) * sent[0]
    assert np.array_equal(arrived[K // 4 :], alone[K // 4 :])
    energy = np.mean(np.abs(arrived[: K // 4]) ** 2)
    assert energy == pytest.approx(0.8 + 0.2 * (0.25 + 1.44), rel=0.05)
    assert abs(BOTH[1].amplitude) ** 2 == pytest.approx(BOTH[1].energy)
    assert stronger(BOTH) == 0 and stronger(BOTH[::-1]) == 1 and stronger((BOTH[0],) * 2) == 0


@pytest.mark.parametrize("first", [0, 1])
def test_successive_decoding_has_the_sum_rate_of_the_channel(first: int) -> None:
    """log2(1 + (E_1 + E_2) / N0), in either order, within the pentagon; and in the channel uses
    that one frame has for itself, its own capacity."""
    one, other = BOTH[first], BOTH[1 - first]
    early, late = View.of(one, other, N0), View.of(other, one, N0, left=0.0)
    total = math.log2(1 + (one.energy + other.energy) / N0)
    assert (early.bits + late.bits) / K == pytest.approx(total)
    assert early.bits / K < math.log2(1 + one.energy / N0)
    long = User(one.power, one.h, K + 5000)
    early, late = View.of(long, other, N0), View.of(other, long, N0, left=0.0)
    alone = math.log2(1 + one.energy / N0)
    assert early.bits + late.bits == pytest.approx(K * total + 5000 * alone)


def test_on_equal_gains_no_order_beats_taking_turns() -> None:
    """All the power in half of the uses each, or both in all of them: the same sum."""
    users = User(0.8, 1, K), User(0.2, 1j, K)
    bits = View.of(users[0], users[1], N0).bits + View.of(users[1], users[0], N0, 0.0).bits
    assert bits == pytest.approx(2 * (K / 2) * math.log2(1 + 1 / N0))


def test_who_is_subtracted_without_a_rest_leaves_the_snr_of_one_user() -> None:
    view = View.of(BOTH[1], BOTH[0], N0, left=0.0)
    assert view.sinr == BOTH[1].energy / N0
    h = view.state.h[0]
    assert abs(h) ** 2 / view.state.noise_variance == pytest.approx(view.sinr)
    assert View.of(BOTH[1], BOTH[0], N0).sinr == BOTH[1].energy / (0.8 + N0)


@pytest.mark.parametrize("shorter", [0, 1])
def test_the_receiver_knows_the_noise_of_each_symbol(shorter: int) -> None:
    ks = [K, K]
    ks[shorter] = K // 2
    users = [User(user.power, user.h, k) for user, k in zip(BOTH, ks, strict=True)]
    codes = [scrambling(i, k) for i, k in enumerate(ks)]
    symbols = [white(i, k) for i, k in enumerate(ks)]
    sent = [code.done(own) for code, own in zip(codes, symbols, strict=True)]
    received = superposed(users, sent) + white(5) * np.float32(N0**0.5)
    for i in range(2):
        heard = View.of(users[i], users[1 - i], N0).heard(received, codes[i])
        error = heard.equalised("zero-forcing") - symbols[i]
        told = heard.noise_variance("zero-forcing")
        if told is None:  # one gain says it all
            assert i == shorter and len(heard.state.h) == 1
            told = np.full(ks[i], heard.state.noise_variance / abs(heard.state.h[0]) ** 2)
        else:
            behind = codes[i].order[K // 2 :]
            assert i != shorter and len(np.unique(told)) == 2
            assert np.all(told[behind] == told.min())
        assert np.mean(np.abs(error) ** 2 / told) == pytest.approx(1, rel=0.05)


def test_scrambled_frames_are_noise_to_each_other() -> None:
    image = np.repeat(white(3, K // 100), 100)  # alike at neighbouring places, as of an image
    code = scrambling(1, K)
    assert np.array_equal(code.undone(code.done(image)), image)
    assert np.array_equal(scrambling(0, K).done(image), image)

    def neighbours(values: np.ndarray) -> float:
        product = np.vdot(values[:-1], values[1:]) / np.vdot(values, values)
        return float(abs(product))

    assert neighbours(image) > 0.9 and neighbours(code.undone(image)) < 0.03
    assert abs(np.vdot(image, code.done(image))) / K < 0.05
    assert not np.array_equal(code.order, scrambling(2, K).order)


def test_a_rough_estimate_is_subtracted_as_far_as_it_helps() -> None:
    """d keeps the factor 1, what is left of u is known, and no other weight leaves less."""
    u = np.float32(0.8**0.5) * white(1)
    d = np.float32(0.5) * white(2)
    received = u + d
    estimate = np.float32(0.9) * u + np.float32(0.3) * d + np.float32(0.2) * white(3)
    rest = cancelled(received, estimate, leak=0.3, known=0.25)
    error = rest.symbols - d
    assert abs(np.vdot(d, error)) / np.vdot(d, d).real < 0.02
    assert rest.left == pytest.approx(float(np.mean(np.abs(error) ** 2)), rel=0.1)
    for weight in np.linspace(0, 1.5, 16):
        other = (received - weight * estimate) / (1 - 0.3 * weight)
        assert np.mean(np.abs(other - d) ** 2) > 0.97 * rest.left
    # Subtracted as if it were exact, it takes a third of d away.
    whole = received - estimate
    assert np.vdot(d, whole).real / np.vdot(d, d).real == pytest.approx(0.7, abs=0.02)


def test_nothing_is_gained_from_what_was_received_over_again() -> None:
    """A linear estimate says nothing that y does not say (docs/antennas.md)."""
    received = white(1) + white(2)
    rest = cancelled(received, np.float32(0.5) * received, leak=0.5, known=1.0)
    assert np.array_equal(rest.symbols, received)
    assert rest.left == pytest.approx(1, rel=0.05)


def test_how_much_an_estimate_follows_a_disturbance_is_measured() -> None:
    received, probe = white(1), np.float32(0.1) * white(2)

    def estimate(y: np.ndarray) -> np.ndarray:
        return np.float32(0.3) * y + np.float32(0.1) * np.tanh(y.real)

    slope = 0.3 + 0.1 * np.mean(1 - np.tanh(received.real) ** 2) / 2
    leak = leak_of(estimate(received), estimate(received + probe), probe)
    assert leak == pytest.approx(float(slope), abs=0.01)
    assert leak_of(received, received, probe) == 0 and leak_of(received, 9 * received, probe) <= 1
