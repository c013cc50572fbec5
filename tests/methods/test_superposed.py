"""Two images at once through the codec that ships: what is gained, charged and refused."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from helpers import draw_at, photograph, sentence

from simulator.chain import Link, load_link
from simulator.errors import SettingsError
from simulator.methods.digital.fit import psnr_of
from simulator.methods.method import Point
from simulator.methods.superposed import Sharing, Superposed
from simulator.phy.superposition import charges

pytestmark = pytest.mark.usefixtures("one_thread")

RATIO = Fraction(1, 48)
IMAGES = photograph(0), photograph(1)


@pytest.fixture(scope="module")
def link() -> Link:
    return load_link("compact")


def received(
    link: Link, wanted: int, images=IMAGES, channel="awgn", gains=(1, 1), **given
) -> Superposed:
    point = Point(channel, RATIO / 2, 10.0)
    draws = draw_at(point, 0, gains[0]), draw_at(point, 1, gains[1])
    return Sharing(link, **given).send(images, RATIO, draws, wanted)


def test_the_weaker_user_gains_what_is_cancelled(link):
    """Cancelling gains less than known symbols would. The decoder is given the true SINR, and a
    false one where the estimate is taken to be exact."""
    got = {how: received(link, 1, cancel=how) for how in ("none", "plain", "measured", "genie")}
    quality = {how: psnr_of(each.pixels, IMAGES[1]) for how, each in got.items()}
    assert quality["none"] + 0.5 < quality["measured"] < quality["genie"]
    assert quality["none"] + 0.5 < quality["plain"] < quality["genie"]
    for how in ("none", "measured", "genie"):
        assert got[how].told_sinr_db == pytest.approx(got[how].sinr_db, abs=1.0)
    assert got["plain"].told_sinr_db > got["plain"].sinr_db + 1
    assert got["genie"].told_sinr_db == pytest.approx(10 + 10 * np.log10(0.2))
    assert not any(each.first for each in got.values())


def test_the_stronger_user_is_decoded_first_whichever_it_is(link):
    strong = received(link, 0)
    assert strong.first and strong.told_sinr_db == pytest.approx(10 * np.log10(0.8 / 0.3))
    assert np.array_equal(received(link, 0, cancel="none").pixels, strong.pixels)
    faded = received(link, 0, channel="rayleigh", gains=(0.2j, 1))
    assert not faded.first
    ahead = received(link, 1, channel="rayleigh", gains=(0.2j, 1))
    assert ahead.first and ahead.told_sinr_db > faded.told_sinr_db


def test_without_an_order_of_its_own_a_user_looks_like_the_other_one(link):
    alike = received(link, 0, scramble=False)
    assert psnr_of(alike.pixels, IMAGES[0]) < psnr_of(received(link, 0).pixels, IMAGES[0]) - 1


def test_frames_of_unequal_length_are_charged_once(link):
    images = photograph(0, (64, 96)), photograph(1)
    ks = [link.encoder.k(image.shape[:2], RATIO) for image in images]
    both = [received(link, user, images) for user in (0, 1)]
    assert [each.k for each in both] == ks and ks[0] < ks[1]
    assert sum(each.charged for each in both) == ks[1]
    assert both[1].charged == ks[1] - ks[0] // 2
    for each, image in zip(both, images, strict=True):
        assert each.pixels.shape == image.shape and each.told_sinr_db < 5
    # Half of the second frame has no interference, whoever is decoded first.
    behind = received(link, 0, images, channel="rayleigh", gains=(0.1, 1))
    assert not behind.first and behind.charged == both[0].charged
    assert both[1].sinr_db > both[1].told_sinr_db
    assert charges((7, 7)) == (4, 3) and charges((10, 4)) == (8, 2)


@pytest.mark.parametrize(
    ("channel", "settings", "words"),
    [
        ("multipath", {}, "awgn, rayleigh or rician"),
        ("mimo", {}, "awgn, rayleigh or rician"),
        ("rayleigh", {"coherence_time": 50, "csit": "average"}, "coherence_time"),
        ("awgn", {"csir": "estimated"}, "estimated"),
        ("awgn", {"packets": {"size": 10, "loss": 0.1}}, "packets"),
        ("awgn", {"impairments": ["clip:ratio=2"]}, "impairments"),
    ],
)
def test_what_is_not_computed_is_refused(link, channel, settings, words):
    draw = draw_at(Point(channel, RATIO, 10.0), **settings)
    with pytest.raises(SettingsError, match=words) as refused:
        Sharing(link).send(IMAGES, RATIO, (draw, draw), 0)
    assert sentence(refused)


def test_a_trace_and_a_codec_with_feedback_are_refused(link):
    draw = draw_at(Point("awgn", RATIO, None))
    with pytest.raises(SettingsError, match="trace"):
        Sharing(link).send(IMAGES, RATIO, (draw, draw), 0)
    with pytest.raises(SettingsError, match="feedback"):
        Sharing(load_link("null-feedback"))
