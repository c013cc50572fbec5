"""Power-delay profiles against what defines them."""

import numpy as np
import pytest

from simulator.phy.profile import TDL, exponential, profile_of, tapped


@pytest.mark.parametrize("name", ["exponential", *TDL])
def test_power_is_one_and_subcarriers_see_as_much(name: str) -> None:
    profile = profile_of(name, taps=8, delay_spread=2.0)
    assert profile.powers.sum() + profile.line_of_sight == pytest.approx(1)
    r = profile.correlation(64)
    assert np.allclose(np.diag(r), 1)
    assert np.allclose(r, r.conj().T)
    assert np.linalg.eigvalsh(r).min() > -1e-9


def test_the_exponential_profile_falls_by_e_in_four_samples() -> None:
    powers = exponential(8).powers
    assert powers[4] / powers[0] == pytest.approx(np.exp(-1))
    assert len(powers) == 8 and exponential(8).longest == 7


@pytest.mark.parametrize("name", TDL)
def test_the_delay_spread_of_3gpp_profiles_is_what_was_asked_for(name: str) -> None:
    """The tables are normalised to a root mean square delay of 1, to their rounding."""
    profile = tapped(name, 5.0)
    delays, powers = profile.delays, profile.powers.copy()
    powers[0] += profile.line_of_sight * (delays[0] == 0)
    mean = powers @ delays
    assert np.sqrt(powers @ (delays - mean) ** 2) == pytest.approx(5.0, rel=0.03)


@pytest.mark.parametrize(("name", "k_db"), [("tdl-d", 13.3), ("tdl-e", 22.0)])
def test_the_line_of_sight_is_as_strong_as_the_table_says(name: str, k_db: float) -> None:
    profile = tapped(name, 1.0)
    ratio = profile.line_of_sight / profile.powers[0]
    assert 10 * np.log10(ratio) == pytest.approx(k_db, abs=0.01)


def test_a_path_of_one_sample_turns_once_over_the_subcarriers() -> None:
    response = exponential(2).response(8)
    assert np.allclose(response[0], 1)
    assert np.allclose(response[1], np.exp(-2j * np.pi * np.fft.fftfreq(8)))
