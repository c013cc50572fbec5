"""The predictor of PSNR: its features, its file, and what is said where there is none."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simulator.errors import ModelError
from simulator.jscc.folder import MANIFEST, ORANET, CodecFolder, read_codec_folder
from simulator.jscc.oranet import (
    FLOOR,
    Features,
    OraNet,
    check_predictable,
    detail_of,
    load_oranet,
    shapes_of,
)
from simulator.jscc.rates import BANDWIDTH_RATIOS
from simulator.jscc.wrap import WRAPPERS
from simulator.phy.state import ChannelState

FEATURES = Features(BANDWIDTH_RATIOS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A codec folder that may be damaged."""
    shipped = read_codec_folder("compact").path
    assert shipped is not None
    shutil.copytree(shipped, tmp_path / "codec")
    return tmp_path / "codec"


def random_net(codec: str = "of a codec") -> OraNet:
    rng = np.random.default_rng(0)
    weights = {k: rng.normal(size=v).astype(np.float32) for k, v in shapes_of(FEATURES).items()}
    return OraNet(FEATURES, codec, weights)


def test_the_shipped_codec_has_one_and_it_is_small() -> None:
    folder = read_codec_folder("compact")
    assert load_oranet(folder).features == FEATURES
    assert folder.file(ORANET).stat().st_size < 60_000


def test_what_is_saved_predicts_the_same(folder: Path) -> None:
    record = read_codec_folder(str(folder))
    net = random_net(record.weights_sha256)
    net.save(folder / ORANET)
    features = np.random.default_rng(1).normal(size=(5, FEATURES.count)).astype(np.float32)
    assert np.array_equal(load_oranet(record).predict(features), net.predict(features))
    before = (folder / ORANET).read_bytes()
    net.save(folder / ORANET)
    assert (folder / ORANET).read_bytes() == before


def test_features_of_maps_state_and_ratio() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(8, 60, 80)) * [[[1]]] * 4 + [[[3]], [[-3]]] * 4
    maps[0] *= 0  # one that says nothing
    state = ChannelState(7.0, np.array([0.5j], np.complex64))
    detail = np.arange(12, dtype=np.float32)
    found = FEATURES.of(maps.astype(np.float32), detail, state, BANDWIDTH_RATIOS[2])
    assert found.shape == (FEATURES.count,) and found.dtype == np.float32
    spread, geometric, level, largest = np.exp(found[:4])
    assert spread == pytest.approx(4.05 * (7 / 8) ** 0.5, rel=0.02)
    assert geometric == pytest.approx(4.05 ** (7 / 8) * 0.05 ** (1 / 8), rel=0.02)
    assert level == pytest.approx(3 * (7 / 8) ** 0.5, rel=0.02)
    assert largest == pytest.approx(4.05, rel=0.02)
    assert np.allclose(found[4:11], [0, 0, 1, 0, 0, 0.7, -0.602], atol=1e-3)
    assert np.array_equal(found[11:], detail)


def test_detail_is_measured_on_scales() -> None:
    def measured(pixels: np.ndarray) -> np.ndarray:
        return np.exp(detail_of(pixels)) - FLOOR

    grey = np.full((64, 64, 3), 128, np.uint8)
    assert np.allclose(measured(grey), 0, atol=0.003)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255  # finer than any square
    assert np.allclose(measured(stripes)[:8], 0.5, atol=0.01)
    assert np.allclose(measured(stripes)[8:], 0, atol=0.003)
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:, 32:] = 255  # every square is on one side
    assert np.allclose(measured(halves)[:8], [0.5, *[0] * 7], atol=0.01)
    corner = grey.copy()
    corner[:8, :8] = stripes[:8, :8]  # detail in one of 64 patches
    geometric, arithmetic = measured(corner)[6:8]
    assert 0 <= geometric < arithmetic / 2 and arithmetic == pytest.approx(0.5 / 64, rel=0.1)
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:, ::2] = (119, 0, 0)
    colours[:, 1::2] = (0, 0, 255)  # blue and red of nearly one luminance
    found = measured(colours)
    assert found[0] < 0.02 < 0.2 < found[8] and np.allclose(found[9:11], found[8], rtol=0.01)
    for size in ((1, 1, 3), (3, 200, 3)):
        assert np.isfinite(detail_of(np.zeros(size, np.uint8))).all()


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def of_another_codec(path: Path) -> None:
    random_net("another").save(path)


def another_width(path: Path) -> None:
    net = random_net()
    replace(net, weights={k: v[:3] for k, v in net.weights.items()}).save(path)


def not_a_number(path: Path) -> None:
    net = random_net()
    net.weights["1.bias"][0] = np.nan
    net.save(path)


def a_pickle(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, record=np.array([{}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (Path.unlink, "has no oranet.npz"),
        (damaged, "is no predictor of PSNR"),
        (lambda path: path.write_text("hello"), "is no predictor of PSNR"),
        (lambda path: path.write_bytes(b""), "is no predictor of PSNR"),
        (another_width, "is no predictor of PSNR"),
        (not_a_number, "is no predictor of PSNR"),
        (a_pickle, "is no predictor of PSNR"),
        (of_another_codec, "was trained for other weights"),
    ],
)
def test_a_file_that_does_not_fit_is_told_with_the_command_that_makes_it(
    folder: Path, spoil, words: str
) -> None:
    spoil(folder / ORANET)
    with pytest.raises(ModelError, match=words) as told:
        load_oranet(read_codec_folder(str(folder)))
    assert f"diffjscc train oranet --codec {folder}" in str(told.value)
    assert "\n" not in str(told.value)


def test_codecs_that_have_no_rate_control(folder: Path) -> None:
    with pytest.raises(ModelError, match="'null' carries no image"):
        check_predictable(read_codec_folder("null"))
    record = json.loads((folder / MANIFEST).read_text())
    for name in WRAPPERS:
        config = {"inner": record["name"], "inner_config": record["config"]}
        with pytest.raises(ModelError, match=f"'{name}' has no rate control"):
            load_oranet(CodecFolder(name, config, "", folder))
