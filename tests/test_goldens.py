"""What is computed is what was computed before: see ``tests.goldens``."""

from __future__ import annotations

import pytest

from tests.goldens import chain, compact
from tests.goldens.files import read

PSNR_DB = 0.1
LPIPS_SHARE = 0.02


@pytest.mark.parametrize("name", chain.CASES)
def test_symbols_are_the_same_bits(name):
    assert chain.digests(*chain.CASES[name]) == read("chain")[name]


def test_every_case_has_its_digests():
    assert set(read("chain")) == set(chain.CASES)


def differences(measured: dict, golden: dict) -> list[str]:
    """What is further from its golden figure than PSNR_DB or LPIPS_SHARE."""
    assert measured.keys() == golden.keys()
    found = []
    for point, figures in golden.items():
        assert measured[point].keys() == figures.keys()
        for key, was in figures.items():
            allowed = PSNR_DB if key.startswith("psnr") else LPIPS_SHARE * was
            if abs(measured[point][key] - was) > allowed:
                found.append(f"{point}: {key} {measured[point][key]:.4f} instead of {was:.4f}")
    return found


def test_quality_of_the_compact_model():
    assert not differences(compact.measure(), read("compact"))


@pytest.mark.parametrize(("key", "change"), [("psnr_refined", 0.11), ("lpips_preview", 0.03)])
def test_a_small_change_is_seen(key, change):
    golden = read("compact")
    moved = {point: dict(figures) for point, figures in golden.items()}
    point = next(iter(moved))
    moved[point][key] += change if key.startswith("psnr") else change * moved[point][key]
    assert len(golden) == 8 and len(differences(moved, golden)) == 1
