"""Source codecs of the digital baseline, and how they are brought to a budget."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simulator.errors import MissingPackageError
from simulator.images import find_images, load_image, sample_photographs
from simulator.methods.digital import fit as fitting
from simulator.methods.digital import hevc
from simulator.methods.digital.avif import Avif, to_leb128
from simulator.methods.digital.fit import Fitter, highest, psnr_of
from simulator.methods.digital.hevc import HevcIntra
from simulator.methods.digital.jpeg2000 import Jpeg2000
from simulator.methods.digital.source import DamagedPayload, SourceCodec, grey
from simulator.methods.digital.ycbcr import to_pixels, to_planes

CODECS: tuple[SourceCodec, ...] = (HevcIntra(), Jpeg2000(), Avif())
CODED = [(codec, variant) for codec in CODECS for variant in codec.variants]
by_codec = pytest.mark.parametrize("codec", CODECS, ids=[codec.name for codec in CODECS])
by_variant = pytest.mark.parametrize(
    ("codec", "variant"), CODED, ids=[f"{codec.name}{variant}" for codec, variant in CODED]
)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(192, 256) of an astronaut."""
    (path,) = [p for p in sample_photographs() if p.stem == "astronaut"]
    return load_image(path).pixels[:192, 100:356].copy()


def quality_of(codec: SourceCodec, share: float) -> int:
    return int(share * (codec.qualities - 1))


@by_variant
def test_payloads_decode_and_grow_with_quality(codec, variant, photo):
    sizes, psnrs = [], []
    for share in (0.3, 0.5, 0.7):
        payload = codec.encode(photo, quality_of(codec, share), variant)
        assert payload == codec.encode(photo, quality_of(codec, share), variant)
        sizes.append(len(payload))
        psnrs.append(psnr_of(codec.decode(payload, photo.shape[:2], variant), photo))
    assert sizes == sorted(sizes) and psnrs == sorted(psnrs)
    assert psnrs[-1] > 33


@by_variant
@pytest.mark.parametrize("size", [(17, 31), (40, 16), (97, 130)])
def test_odd_sizes(codec, variant, size, photo):
    picture = photo[: size[0], : size[1]]
    payload = codec.encode(picture, quality_of(codec, 0.8), variant)
    got = codec.decode(payload, size, variant)
    assert got.shape == picture.shape
    assert psnr_of(got, picture) > 25


@by_variant
def test_no_container_is_sent(codec, variant):
    """A grey picture costs next to nothing: 370 bytes of boxes would be seen here."""
    payload = codec.encode(grey((192, 256)), 0, variant)
    assert len(payload) < 30
    assert psnr_of(codec.decode(payload, (192, 256), variant), grey((192, 256))) > 40


@by_variant
def test_damaged_payloads_are_named_or_shown(codec, variant, photo):
    """Never another error than the one that a receiver knows."""
    payload = codec.encode(photo, quality_of(codec, 0.4), variant)
    rng = np.random.default_rng(0)
    for _ in range(12):
        wrong = bytearray(payload[: rng.integers(1, len(payload) + 1)])
        wrong[rng.integers(len(wrong))] ^= int(rng.integers(1, 256))
        try:
            assert codec.decode(bytes(wrong), photo.shape[:2], variant).shape == photo.shape
        except DamagedPayload as error:
            assert codec.label.split()[0] in str(error)


def test_planes_are_those_of_jpeg(photo):
    """Pillow converts by the same matrix."""
    planes = to_planes(photo, "444")
    theirs = np.asarray(Image.fromarray(photo).convert("YCbCr"))
    assert np.abs(np.stack(planes, -1).astype(int) - theirs).max() <= 1
    assert psnr_of(to_pixels(planes), photo) > 48
    luma, cb, cr = to_planes(photo, "420")
    assert (luma.shape, cb.shape, cr.shape) == ((192, 256), (96, 128), (96, 128))
    assert psnr_of(to_pixels([luma, cb, cr]), photo) > 30


def test_lengths_of_obus():
    assert [to_leb128(n).hex() for n in (0, 127, 128, 300)] == ["00", "7f", "8001", "ac02"]


@pytest.mark.parametrize("qualities", [1, 2, 50, 400])
@pytest.mark.parametrize("growth", [0.01, 0.1, 3.0])
def test_the_search_finds_the_highest_quality_that_fits(qualities, growth):
    rng = np.random.default_rng(qualities)
    for _ in range(30):
        sizes = np.cumsum(rng.exponential(size=qualities) * 0.1) + 1
        asked = []

        def log_size(quality, sizes=sizes, asked=asked):
            asked.append(quality)
            return sizes[quality]

        limit = rng.uniform(0.5, sizes[-1] + 0.5)
        expected = np.flatnonzero(sizes <= limit)
        found = highest(log_size, limit, qualities, growth)
        assert found == (expected[-1] if len(expected) else None)
        assert len(asked) <= 4 + math.ceil(math.log2(qualities))


@by_codec
@pytest.mark.parametrize("budget", [60, 150, 1000, 9000])
def test_budgets_are_kept(codec, budget, photo):
    fitted = Fitter(codec).fit(photo, budget)
    assert fitted is not None
    assert len(fitted.payload) <= budget
    decoded = fitting.decode(codec, fitted.payload, photo.shape[:2])
    np.testing.assert_array_equal(decoded, fitted.pixels)
    assert fitted.psnr == psnr_of(decoded, photo)


@by_codec
def test_more_bytes_are_used(codec, photo):
    fitter = Fitter(codec)
    fits = [fitter.fit(photo, budget) for budget in (150, 400, 1000, 3000)]
    assert [fit.psnr for fit in fits] == sorted(fit.psnr for fit in fits)
    assert len(fits[-1].payload) > 0.75 * 3000


@by_codec
def test_what_does_not_fit(codec, photo):
    fitter = Fitter(codec)
    assert all(fitter.fit(photo, budget) is None for budget in (0, 1, 2))


def test_a_fitter_that_may_not_shrink(photo):
    codec = HevcIntra()
    assert Fitter(codec, shrinks=False).fit(photo, 100) is None
    assert Fitter(codec).fit(photo, 100).scale > 1
    assert Fitter(codec, shrinks=False).fit(photo, 2000).scale == 1


def test_nothing_is_encoded_twice(photo):
    class Counting(Jpeg2000):
        def __init__(self):
            self.asked = []

        def encode(self, pixels, quality, variant):
            self.asked.append((pixels.shape, quality))
            return super().encode(pixels, quality, variant)

    codec = Counting()
    fitter = Fitter(codec)
    first = fitter.fit(photo, 500)
    count = len(codec.asked)
    assert fitter.fit(photo.copy(), 500) is first
    assert len(codec.asked) == count
    fitter.fit(photo, 520)
    assert len(codec.asked) == len(set(codec.asked))


def test_a_fit_does_not_depend_on_what_was_asked_before(photo):
    alone = Fitter(HevcIntra()).fit(photo, 700)
    fitter = Fitter(HevcIntra())
    for budget in (90, 5000, 690):
        fitter.fit(photo, budget)
    assert fitter.fit(photo, 700).payload == alone.payload


def test_hevc_without_pyav(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(
        MissingPackageError, match=r'HEVC needs PyAV: pip install "diffjscc\[eval\]"\.'
    ):
        hevc.pyav()


REFERENCES = {
    # File, variant, qualities, and how far below and above the published curve ours may be in dB.
    "hevc": ("bpg_444_x265_ycbcr.json", "444", (9, 14, 21), -0.2, 0.2),
    # The published points are ffmpeg's own encoder.
    "jpeg2000": ("jpeg2000.json", "", (203, 250), 0.0, 1.5),
    # The published points are libaom's slowest.
    "avif": ("av1.json", "444", (12, 25), -0.9, 0.2),
}


@by_codec
def test_published_rates_and_distortions(codec):
    """Means over the Kodak images, against CompressAI's published points of the same format."""
    folders = [os.environ.get(name) for name in ("DIFFJSCC_KODAK", "DIFFJSCC_REFERENCE_RD")]
    if not all(folders):
        pytest.skip("set DIFFJSCC_KODAK and DIFFJSCC_REFERENCE_RD to folders of those names")
    kodak, published = (Path(str(folder)) for folder in folders)
    file, variant, qualities, below, above = REFERENCES[codec.name]
    curve = json.loads((published / file).read_text())["results"]
    points = sorted(zip(np.log(curve["bpp"]), curve["psnr-rgb"], strict=True))
    images = [load_image(path).pixels for path in find_images([kodak])]
    for quality in qualities:
        payloads = [codec.encode(image, quality, variant) for image in images]
        bpp = np.mean([len(p) * 8 * 3 / i.size for p, i in zip(payloads, images, strict=True)])
        psnr = np.mean(
            [
                psnr_of(codec.decode(payload, image.shape[:2], variant), image)
                for payload, image in zip(payloads, images, strict=True)
            ]
        )
        difference = psnr - np.interp(np.log(bpp), *zip(*points, strict=True))
        assert below < difference < above, (quality, bpp, psnr)
