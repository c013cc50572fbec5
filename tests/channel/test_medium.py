"""The medium: measured SNR, paired draws, fading blocks, pilots, CSI and traces."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from channel.medium import Medium, read_trace
from simulator.errors import SettingsError
from simulator.link.messages import WireError, WirePoint
from simulator.phy import pilots
from simulator.phy.propagation import noise_variance
from simulator.settings import ChannelSettings

Kind = Literal["awgn", "rayleigh", "rician"]


def key(i: int) -> bytes:
    return hashlib.sha256(b"%d" % i).digest()


def point(kind: Kind = "awgn", snr_db: float | None = 10.0, index: int = 0) -> WirePoint:
    return WirePoint(channel=kind, snr_db=snr_db, bandwidth_ratio="1/384", trace_index=index)


def medium(**settings: Any) -> Medium:
    return Medium(ChannelSettings.model_validate(settings))


def qpsk(n: int, seed: int = 0) -> np.ndarray:
    bits = 1 - 2 * np.random.default_rng(seed).integers(0, 2, (n, 2))
    return ((bits[:, 0] + 1j * bits[:, 1]) / 2**0.5).astype(np.complex64)


def power(values: np.ndarray) -> float:
    return float(np.mean(np.abs(values.astype(complex)) ** 2))


# Equation (3)


def test_a_frame_has_one_snr_though_a_live_one_moves() -> None:
    """Under water-filling the receiver has to share power by the very SNR of the transmitter."""
    newest = iter(range(5, 50))
    settings = ChannelSettings(kind=["multipath"], multipath={"power": "water-filling"})
    live = Medium(settings, live=lambda: float(next(newest)))
    sent, asked = qpsk(640), WirePoint(channel="multipath", snr_db=None, bandwidth_ratio="1/384")
    got = live.transmit(key(1), asked, 640, sent)
    assert got.snr_db == 5.0
    pinned = Medium(settings).transmit(
        key(1), WirePoint(channel="multipath", snr_db=5.0, bandwidth_ratio="1/384"), 640, sent
    )
    np.testing.assert_array_equal(got.symbols, pinned.symbols)
    assert got.h_abs2 == pinned.h_abs2


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 1.0, 7.5, 20.0])
def test_measured_snr_is_the_one_asked_for(snr_db: float) -> None:
    """To 0.1 dB: a variance of sigma^2 in each real dimension would be 3 dB off."""
    k = 50_000
    sent = qpsk(k)
    got = medium().transmit(key(1), point(snr_db=snr_db), k, sent)
    noise = got.symbols - sent
    assert got.symbols.dtype == np.complex64
    assert 10 * np.log10(power(sent) / power(noise)) == pytest.approx(snr_db, abs=0.1)
    assert got.received_snr_db == pytest.approx(snr_db, abs=0.1)
    assert noise.real.var() == pytest.approx(noise_variance(snr_db) / 2, rel=0.04)
    assert noise.imag.var() == pytest.approx(noise_variance(snr_db) / 2, rel=0.04)
    assert (got.h_abs2, got.snr_db) == (1, snr_db)


def test_under_block_rayleigh_the_received_snr_varies_from_image_to_image() -> None:
    """Noise scaled to the faded signal would cancel the fade."""
    m, k, n = medium(), 256, 1500
    got = [m.transmit(key(i), point("rayleigh"), k, qpsk(k)) for i in range(n)]
    received = np.array([g.received_snr_db for g in got])
    h_abs2 = np.array([g.h_abs2 for g in got])
    assert received.std() == pytest.approx(5.57, abs=0.7)  # 10 log10 of an exponential
    assert h_abs2.mean() == pytest.approx(1, abs=0.13)
    fade = 10 * np.log10(h_abs2)
    assert np.abs(received - 10 - fade).max() < 1.5  # what is left is the noise of 256 symbols
    noise = np.mean([power(g.symbols - g.h[0] * qpsk(k)) for g in got])
    assert noise == pytest.approx(0.1, rel=0.02)


def test_one_gain_for_the_whole_image_without_a_coherence_time() -> None:
    k = 1000
    got = medium().transmit(key(2), point("rayleigh", 60.0), k, qpsk(k))
    assert got.h.shape == (1,)
    assert np.abs(got.symbols / qpsk(k) - got.h[0]).max() < 0.01
    assert got.h_abs2 == pytest.approx(abs(got.h[0]) ** 2, rel=1e-5)


# Pairing


def unit_noise(m: Medium, p: WirePoint, k: int, kind_gain: bool = True) -> np.ndarray:
    total = k + m.laws.of("rayleigh").pilots(k)
    got = m.transmit(key(3), p, k, np.zeros(total, np.complex64))
    noise: np.ndarray = got.symbols[total - k :] / np.float32(noise_variance(m.snr_db(p)) ** 0.5)
    return noise


def test_noise_is_paired_over_snr_rate_channel_and_pilots() -> None:
    reference = unit_noise(medium(), point(), 700)
    for settings, p in [
        ({}, point(snr_db=-5.0)),
        ({}, point("rayleigh", 23.0)),
        ({"csir": "estimated", "pilots": 8}, point()),
        ({"csir": "estimated", "pilots": 8, "coherence_time": 50, "csit": "average"}, point()),
        ({"assumed_snr_db": 3.0}, point()),
    ]:
        for k in (300, 700):
            np.testing.assert_allclose(
                unit_noise(medium(**settings), p, k), reference[:k], rtol=1e-5
            )


def test_a_frame_meets_the_same_channel_whenever_and_how_often_it_is_sent() -> None:
    m, k = medium(csir="estimated"), 500
    sent = np.concatenate([pilots.pilot_symbols(16), qpsk(k)])
    first = [m.transmit(key(i), point("rician"), k, sent).symbols for i in range(5)]
    for i in (3, 0, 4, 4, 1, 2):
        again = medium(csir="estimated").transmit(key(i), point("rician"), k, sent)
        assert np.array_equal(again.symbols, first[i])
    assert len({f.tobytes() for f in first}) == 5


def test_the_gain_is_paired_over_snr_and_rate() -> None:
    m = medium()
    gains = {
        m.csit(key(4), point("rayleigh", snr), k).gain for snr in (-3.0, 12.0) for k in (10, 9999)
    }
    assert len(gains) == 1


# Coherence time


def test_the_gain_is_constant_within_a_block_and_pilots_see_their_blocks() -> None:
    m = medium(coherence_time=50, csir="estimated", pilots=5, csit="average")
    k = 200  # 45 symbols a block: 5 blocks, the last with 20
    p = m.laws.of("rayleigh").pilots(k)
    assert (m.laws.of("rayleigh").count(k), p) == (5, 25)
    sent = np.concatenate([pilots.pilot_symbols(p), qpsk(k)])
    got = m.transmit(key(5), point("rayleigh", 60.0), k, sent)
    assert got.h.shape == (5,) and len(set(got.h)) == 5
    seen = got.symbols / sent
    expected = [b for b in range(5) for _ in range(5)] + [i // 45 for i in range(k)]
    assert np.abs(seen - got.h[expected]).max() < 0.02
    weights = np.array([45, 45, 45, 45, 20]) / k
    assert got.h_abs2 == pytest.approx(float(weights @ np.abs(got.h) ** 2), rel=1e-5)


def test_blocks_are_correlated_as_set() -> None:
    m = medium(coherence_time=2, block_correlation=0.9, csit="average")
    h = m.gains(key(6), point("rayleigh"), 40_000)
    assert len(h) == 20_000
    assert np.mean(h[1:] * h[:-1].conj()) == pytest.approx(0.9, abs=0.1)


@pytest.mark.parametrize(
    ("k", "coherence_time", "per_block", "blocks"),
    [
        (100, 0, 0, 1),
        (100, 0, 16, 1),
        (100, 100, 0, 1),
        (101, 100, 0, 2),
        (96, 20, 4, 6),
        (1, 5, 4, 1),
    ],
)
def test_number_of_blocks_and_pilots(
    k: int, coherence_time: int, per_block: int, blocks: int
) -> None:
    each = pilots.Blocks(coherence_time, per_block)
    assert each.count(k) == blocks
    assert each.pilots(k) == blocks * per_block
    of = each.of_symbols(k)
    assert np.array_equal(each.of_each_symbol(np.arange(blocks), k), of)
    assert len(of) == k and of.max() == blocks - 1 and (np.diff(of) >= 0).all()
    if coherence_time:
        assert np.bincount(of).max() + per_block <= coherence_time


def test_pilots_have_unit_power_and_are_the_same_at_both_ends() -> None:
    sent = pilots.pilot_symbols(400)
    assert np.abs(sent) == pytest.approx(1, abs=1e-6)
    assert len(set(sent.tolist())) == 4
    assert np.array_equal(sent, pilots.pilot_symbols(400))


@pytest.mark.parametrize(("snr_db", "per_block"), [(0.0, 4), (10.0, 16)])
def test_the_error_of_estimated_gains_is_noise_over_pilots(snr_db: float, per_block: int) -> None:
    m = medium(coherence_time=per_block + 1, csir="estimated", pilots=per_block, csit="average")
    k = 5000  # one symbol a block
    p = m.laws.of("rayleigh").pilots(k)
    sent = np.concatenate([pilots.pilot_symbols(p), qpsk(k)])
    got = m.transmit(key(7), point("rayleigh", snr_db), k, sent)
    error = pilots.estimate_gains(got.symbols[:p], per_block) - got.h
    assert error.dtype == np.complex64 and error.shape == (k,)
    assert power(error) == pytest.approx(noise_variance(snr_db) / per_block, rel=0.08)
    assert abs(error.mean()) < 5 * (power(error) / k) ** 0.5


# CSI


def test_perfect_csit_is_the_gain_that_the_frame_meets() -> None:
    m, k = medium(), 64
    for i in range(5):
        given = m.csit(key(i), point("rayleigh"), k)
        assert given.h == m.transmit(key(i), point("rayleigh"), k, qpsk(k)).h[0]
    assert m.csit(key(0), point("awgn"), k).h == 1


def test_average_csit_has_no_gain() -> None:
    assert medium(csit="average").csit(key(0), point("rayleigh"), 64).h == 1
    blocks = medium(coherence_time=8, csit="average")
    assert blocks.csit(key(0), point("rayleigh"), 64).h == 1


def test_delayed_csit_is_correlated_with_the_gain() -> None:
    m = medium(csit="delayed", block_correlation=0.9, csit_delay_blocks=2)
    p, n = point("rayleigh"), 3000
    given = np.array([m.csit(key(i), p, 8).gain for i in range(n)])
    true = np.array([m.gains(key(i), p, 8)[0] for i in range(n)])
    assert given[0] == m.csit(key(0), p, 8).gain and not np.isclose(given, true).any()
    assert power(given) == pytest.approx(1, abs=0.1)
    assert np.mean(given * true.conj()) == pytest.approx(0.81, abs=0.1)


def test_assumed_snr_is_told_while_the_noise_stays_true() -> None:
    m, k = medium(assumed_snr_db=2.0), 20_000
    got = m.transmit(key(8), point(snr_db=12.0), k, qpsk(k))
    assert got.snr_db == m.given_snr_db(point(snr_db=12.0)) == 2.0
    assert got.received_snr_db == pytest.approx(12, abs=0.1)


# Trace


def write(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    return str(path)


def test_a_trace_decides_the_snr_of_frames_that_ask_for_none(tmp_path: Path) -> None:
    trace = write(tmp_path / "t.csv", "\ufefftime,snr_db\r\n0,3.5\r\n1,-2\r\n")
    m = medium(snr_trace=trace)
    assert m.trace == [3.5, -2.0]
    assert [m.snr_db(point(snr_db=None, index=i)) for i in (0, 1, 2, 101)] == [3.5, -2, 3.5, -2]
    assert m.snr_db(point(snr_db=7.0)) == 7
    k = 50_000
    got = m.transmit(key(9), point(snr_db=None, index=1), k, qpsk(k))
    assert got.received_snr_db == pytest.approx(-2, abs=0.1)


def test_without_a_trace_such_frames_are_unsupported() -> None:
    with pytest.raises(WireError, match="no SNR trace") as caught:
        medium().snr_db(point(snr_db=None))
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "snr_db\n",
        "snr\n3\n",
        "a,snr_db\n1\n",
        "snr_db\nthree\n",
        "snr_db\nnan\n",
        "snr_db\n1e9\n",
        "snr_db\n" + "9" * 200_000,  # longer than the csv module takes
        "snr_db\n\x00\n",
    ],
)
def test_bad_traces_are_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "t.csv", text)
    with pytest.raises(SettingsError) as caught:
        read_trace(path)
    assert str(caught.value).startswith(f"SNR trace {path} needs ")
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_unreadable_traces_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes(b"snr_db,\xff\n1,2\n")
    for path, reason in [
        (tmp_path / "none.csv", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "latin.csv", "line 1 has a byte that is not UTF-8"),
    ]:
        with pytest.raises(SettingsError, match=reason):
            medium(snr_trace=str(path))


def test_a_quantised_csit_has_its_bits_counted() -> None:
    m = medium(csit="quantised", csit_bits=3)
    h, told = m.gains(key(1), point("rayleigh"), 4), m.csit(key(1), point("rayleigh"), 4).h
    assert 0 < abs(h[0] - told[0]) < 0.8
    got = m.transmit(key(1), point("rayleigh"), 4, qpsk(4))
    assert got.feedback_bits == 6 and got.h[0] == h[0]
    many = m.transmit(key(1), point("multipath"), 4, qpsk(4))
    assert many.feedback_bits == 6 * 64
    assert m.transmit(key(1), point("awgn"), 4, qpsk(4)).feedback_bits == 0
    assert medium().transmit(key(1), point("rayleigh"), 4, qpsk(4)).feedback_bits == 0
