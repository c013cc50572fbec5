"""Several antennas: statistics of H, what is sent, and what a receiver says of it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simulator.phy.antennas import Antennas, precoder
from simulator.phy.mimo import Mimo
from simulator.phy.reception import Equalizer, Heard
from simulator.phy.streams import complex_normal, stream

MRC = Antennas(1, 2, scheme="mrc")
ALAMOUTI = Antennas(2, 2)
MULTIPLEXED = Antennas(2, 2, scheme="multiplexing")
FORCED = Antennas(2, 3, scheme="multiplexing", detector="zero-forcing")
CROWDED = Antennas(4, 2, scheme="multiplexing")  # more streams than antennas that receive
SVD = Antennas(3, 2, scheme="svd")
ALL = [MRC, ALAMOUTI, MULTIPLEXED, FORCED, CROWDED, SVD]
NAMES = ["mrc", "alamouti", "mmse", "zero-forcing", "crowded", "svd"]
every = pytest.mark.parametrize("antennas", ALL, ids=NAMES)


def generator(seed: int = 0) -> np.random.Generator:
    return stream(bytes([seed]) * 32, "h", 2)


def through(
    law: Mimo, sent: np.ndarray, h: np.ndarray, snr_db: float, noise: np.random.Generator,
    rounds: int = 1,
) -> Heard:  # fmt: skip
    """Symbols behind their pilots over the air, in equal rounds."""
    k = len(sent) // rounds
    parts = []
    for each in sent.reshape(rounds, k):
        clean = law.faded(np.concatenate([law.pilot_symbols(k), each]), h, k)
        assert len(clean) == sum(law.received(k))
        parts.append(clean + np.float32(10 ** (-snr_db / 20)) * complex_normal(noise, len(clean)))
    return law.hear(np.concatenate(parts), h[:0] if law.each else h, k, snr_db, rounds)


# The channel


@pytest.mark.parametrize(("left", "right"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.9), (0.5, 0.8)])
def test_gains_have_unit_power_and_kroneckers_correlation(left: float, right: float) -> None:
    """E h_ij conj(h_kl) = R_r[i, k] R_t[j, l], to four standard errors of 20,000 draws."""
    antennas = Antennas(3, 2, right, left, "multiplexing")
    law, source, count = Mimo(antennas), generator(), 20_000
    h = np.stack([law.gains(source, 10) for _ in range(count)])
    measured = h.T @ h.conj() / count
    index = np.arange(3)
    of_rows = left ** np.abs(index[:2, None] - index[:2])
    of_columns = right ** np.abs(index[:, None] - index)
    expected = np.kron(of_rows, of_columns)
    spread = np.sqrt((np.abs(h[:, :, None] * h[:, None].conj()) ** 2).mean(axis=0) / count)
    assert (np.abs(measured - expected) < 4 * spread).all()
    assert 4 * spread.max() < 0.05  # the test can fail


@pytest.mark.parametrize("name", ["alamouti", "svd"])
def test_gains_of_an_earlier_frame(name: str) -> None:
    """For CSIT, and for the precoder that is made of it: 0.9 two frames before is 0.81."""
    chosen = replace(ALAMOUTI if name == "alamouti" else SVD, age=2)
    law = Mimo(chosen, correlation=0.9)
    source, other = generator(1), generator(2)
    now = np.stack([law.gains(source, 10) for _ in range(4000)])
    before = np.stack([law.before(h, other, 2) for h in now])
    assert now.shape[1] == law.count(10) == law.pairs * (1 + (name == "svd"))
    assert (before * now[:, : law.pairs].conj()).mean() == pytest.approx(0.81, abs=0.03)
    assert (np.abs(before) ** 2).mean() == pytest.approx(1, abs=0.03)


def test_the_phase_of_a_precoder_does_not_depend_on_the_library() -> None:
    h = Mimo(SVD).gains(generator(), 1).reshape(2, 3)
    v = precoder(h, 2)
    assert np.allclose(v.conj().T @ v, np.eye(2)) and np.allclose(v[0].imag, 0)
    assert (v[0].real > 0).all()
    a = h @ v
    assert np.allclose(np.linalg.norm(a, axis=0), np.linalg.svd(h)[1], atol=1e-6)
    assert abs(a[:, 0].conj() @ a[:, 1]) < 1e-6


def test_eigenvalues_of_two_by_two() -> None:
    """Complex Wishart: 7/2 and 1/2 on average, and the smaller one is exponential."""
    law = Mimo(Antennas(2, 2, scheme="svd"))
    source = generator()
    gains = np.stack([law.effective(law.gains(source, 2), 10.0) for _ in range(10_000)])
    eigenvalues = 2 * np.abs(gains) ** 2  # each stream has half of the power
    spread = eigenvalues.std(axis=0) / 100
    assert (np.abs(eigenvalues.mean(axis=0) - [3.5, 0.5]) < 4 * spread).all()
    for x in (0.1, 0.5, 1.5):
        share, expected = (eigenvalues[:, 1] < x).mean(), 1 - np.exp(-2 * x)
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 10_000)


# What is sent


@every
@pytest.mark.parametrize("k", [1, 7, 8, 9])
def test_uses_and_received_values(antennas: Antennas, k: int) -> None:
    law = Mimo(antennas, each=3)
    streams = {"mrc": 1, "alamouti": 1, "multiplexing": antennas.transmit, "svd": 2}[
        antennas.scheme
    ]
    slots = 2 * -(-k // 2) if antennas.scheme == "alamouti" else -(-k // streams)
    pilots = 3 * (2 if antennas.scheme == "alamouti" else streams)
    assert (law.pilots(k), law.uses(k)) == (pilots, pilots + slots)
    assert law.received(k) == (antennas.receive * pilots, antennas.receive * slots)
    sent = np.concatenate([law.pilot_symbols(k), np.ones(k, np.complex64)])
    assert len(law.faded(sent, law.gains(generator(), k), k)) == antennas.receive * law.uses(k)


@pytest.mark.parametrize(
    "antennas",
    [
        Antennas(1, 1, scheme="mrc"),
        Antennas(2, 2),
        Antennas(4, 4, scheme="multiplexing"),
        Antennas(4, 4, scheme="svd"),
    ],
    ids=lambda antennas: antennas.scheme,
)
def test_all_antennas_together_send_a_power_of_one_in_each_use(antennas: Antennas) -> None:
    """Through a unitary H, which keeps the power, pilots as symbols."""
    n, k = antennas.transmit, 4000
    h = np.linalg.qr(complex_normal(generator(), n * n).reshape(n, n))[0].astype(np.complex64)
    law = Mimo(antennas, each=5)
    sent = np.concatenate([law.pilot_symbols(k), np.exp(1j * np.arange(k)).astype(np.complex64)])
    power = (np.abs(law.faded(sent, h.reshape(-1), k)) ** 2).reshape(-1, n).sum(axis=1)
    assert np.allclose(power[: law.pilots(k)], 1, atol=1e-5)
    assert power[law.pilots(k) :].mean() == pytest.approx(1, abs=1e-4)


@every
def test_snr_is_that_of_one_receive_antenna(antennas: Antennas) -> None:
    """E abs(y)^2 = 1 for symbols of unit power: but under svd, which aims at the receiver."""
    law, source = Mimo(antennas), generator()
    power = [
        np.mean(np.abs(law.faded(complex_normal(source, 120), law.gains(source, 120), 120)) ** 2)
        for _ in range(2000)
    ]
    expected = 1.5 if antennas.scheme == "svd" else 1  # E trace(H H^H) / (N_r N), 6 / (2 2)
    assert abs(np.mean(power) - expected) < 4 * np.std(power) / np.sqrt(len(power))


# What a receiver says


@pytest.mark.parametrize("antennas", [one for one in ALL if one is not CROWDED])
def test_without_noise_all_symbols_come_back(antennas: Antennas) -> None:
    """But where two antennas have to tell four streams apart."""
    law, k = Mimo(antennas), 31
    sent = complex_normal(generator(1), k)
    heard = through(law, sent, law.gains(generator(), k), 80.0, generator(2))
    np.testing.assert_allclose(heard.equalised("zero-forcing"), sent, atol=2e-3)


CASES: dict[str, tuple[Antennas, dict[str, Any]]] = {
    **{name: (antennas, {}) for name, antennas in zip(NAMES, ALL, strict=True)},
    "correlated": (Antennas(2, 2, 0.8, 0.5, "multiplexing"), {}),
    "old precoder": (replace(SVD, age=1), {"correlation": 0.8}),
    **{f"{name} estimated": (one, {"each": 4}) for name, one in zip(NAMES[:5], ALL, strict=False)},
}


@pytest.mark.parametrize("snr_db", [1.0, 10.0])
@pytest.mark.parametrize("name", CASES)
def test_the_noise_of_each_symbol_is_what_is_said(name: str, snr_db: float) -> None:
    """In units of what is said it has a mean square of 1: within four standard errors, and 3 %."""
    antennas, fields = CASES[name]
    law, k, rounds = Mimo(antennas, **fields), 60, 2
    source, noise = generator(3), generator(4)
    ratios: dict[Equalizer, list[float]] = {"zero-forcing": [], "mmse": []}
    for _ in range(600):
        h = law.gains(source, k)
        sent = complex_normal(source, rounds * k)
        heard = through(law, sent, h, snr_db, noise, rounds)
        n0 = heard.state.noise_variance
        power = np.abs(heard.h) ** 2
        for equalizer, found in ratios.items():
            left = power / (power + n0) if equalizer == "mmse" else 1
            wrong = np.abs(heard.equalised(equalizer) - left * sent) ** 2
            said = heard.noise_variance(equalizer)
            if said is None:  # one gain says it
                said = n0 / power * left**2
            found.append(np.mean(wrong / said))
    for found in ratios.values():
        spread = np.std(found) / np.sqrt(len(found))
        assert abs(np.mean(found) - 1) < 4 * spread < 0.03


@pytest.mark.parametrize("snr_db", [1.0, 10.0])
def test_behind_a_precoder_estimates_reckon_with_little_too_much_noise(snr_db: float) -> None:
    """Columns of H V are no CN(0, 1), as the estimate takes them to be."""
    law, k = Mimo(Antennas(2, 2, scheme="svd"), each=8), 60
    source, noise, ratios = generator(3), generator(4), []
    for _ in range(1500):
        sent = complex_normal(source, k)
        heard = through(law, sent, law.gains(source, k), snr_db, noise)
        said = heard.noise_variance("zero-forcing")
        ratios.append(np.mean(np.abs(heard.equalised("zero-forcing") - sent) ** 2 / said))
    assert 0.93 < np.mean(ratios) < 1


@every
def test_a_transmitter_is_told_the_gains_that_the_receiver_finds(antennas: Antennas) -> None:
    law, k = Mimo(antennas), 60
    h = law.gains(generator(), k)
    heard = through(law, np.ones(k, np.complex64), h, 5.0, generator(1))
    np.testing.assert_allclose(heard.state.h, law.effective(h, 5.0), rtol=1e-6)


def test_an_old_precoder_costs_what_streams_do_to_one_another() -> None:
    """The transmitter believes in singular values; the receiver knows better."""
    law = Mimo(Antennas(2, 2, scheme="svd", age=1), correlation=0.8)
    source = generator()
    drawn = [law.gains(source, 10) for _ in range(500)]
    found = np.array([np.abs(law.effective(h, 10.0)) ** 2 for h in drawn])
    hoped = np.array([np.abs(law.effective(law.before(h, source, 1), 10.0)) ** 2 for h in drawn])
    fresh = np.array([np.abs(law.effective(h[: law.pairs], 10.0)) ** 2 for h in drawn])
    assert hoped.mean() == pytest.approx(fresh.mean(), rel=0.15)
    assert found.mean() < 0.8 * fresh.mean()


def test_wrong_numbers_of_gains() -> None:
    with pytest.raises(ValueError, match="3 gains for 4 pairs"):
        Mimo(ALAMOUTI).hear(np.ones(8, np.complex64), np.ones(3, np.complex64), 4, 10.0)


@every
def test_a_channel_of_zeros_stays_finite_or_is_refused(antennas: Antennas) -> None:
    law = Mimo(antennas)
    h, received = np.zeros(law.pairs, np.complex64), np.ones(sum(law.received(12)), np.complex64)
    if antennas.detector == "zero-forcing":
        with pytest.raises(ValueError):
            law.hear(received, h, 12, 10.0)
        return
    heard = law.hear(received, h, 12, 10.0)
    assert np.isfinite(heard.equalised("zero-forcing")).all()


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"transmit": 9}, "9 x 2"),
        ({"receive": 0}, "2 x 0"),
        ({"transmit_correlation": 1.0}, "correlation"),
        ({"scheme": "mrc"}, "mrc has 1 transmit antenna, not 2"),
        ({"transmit": 3}, "alamouti has 2 transmit antennas, not 3"),
        ({"scheme": "multiplexing", "detector": "zero-forcing", "receive": 1}, "take detector"),
        ({"age": -1}, "age"),
    ],
)
def test_antennas_that_there_are_not(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Antennas(**fields)
