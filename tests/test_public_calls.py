"""The calls of a notebook: what they are given is looked at, as the command line's is."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import build_tiny_model

import simulator
from rx.pipeline import DiffJSCCPipeline
from simulator.chain import Draw, load_link
from simulator.errors import DiffJsccError, SettingsError
from simulator.jscc import Csi, load_codec
from simulator.jscc.registry import CODECS, codec_class
from simulator.link.messages import WirePoint
from simulator.metrics.scorer import Scorer
from simulator.settings import ChannelSettings
from simulator.tensors import as_tensor

SIZE = (64, 96)
CODEC = load_codec("compact")
IMAGE = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
CSI = Csi.of(10.0, batch=2)

LINK = load_link("compact")


def draw() -> Draw:
    point = WirePoint(channel="awgn", snr_db=10.0, bandwidth_ratio="1/96")
    return Draw.under(ChannelSettings(), bytes(32), point)


#: An image that people have, and what is said about it.
IMAGES: dict[str, tuple[Any, str]] = {
    "grey": (IMAGE[:, :1], "expand(-1, 3, -1, -1)"),
    "grey without a channel": (IMAGE[0, 0], "expand(1, 3, -1, -1)"),
    "HWC": (IMAGE[0].permute(1, 2, 0), "permute(2, 0, 1)[None]"),
    "BHWC": (IMAGE.permute(0, 2, 3, 1), "permute(0, 3, 1, 2)"),
    "CHW": (IMAGE[0], "image[None]"),
    "RGBA": (torch.rand(2, 4, *SIZE), "image[:, :3]"),
    "bytes": ((IMAGE * 255).to(torch.uint8), "image.float() / 255"),
    "0 to 255": (IMAGE * 255, "image / 255"),
    "-1 to 1": (IMAGE * 2 - 1, "image / 2 + 0.5"),
    "NaN": (IMAGE.clone().index_fill_(0, torch.tensor(1), math.nan), "values from nan"),
    "infinite": (IMAGE / 0, "inf"),
    "empty": (torch.rand(0, 3, *SIZE), "(0, 3, 64, 96)"),
    "without a pixel": (torch.rand(2, 3, 0, 9), "(2, 3, 0, 9)"),
    "numpy": (IMAGE.numpy(), "as a torch tensor"),
    "a path": ("photo.png", "images are a str"),
    "complex": (IMAGE.to(torch.complex64), "of type complex64"),
}
each_image = pytest.mark.parametrize("what", IMAGES)

STATES: dict[str, tuple[Any, str]] = {
    "a number": (10.0, "Csi.of(snr_db, h, batch=2)"),
    "None": (None, "Csi.of(snr_db, h, batch=2)"),
    "one of two": (Csi.of(10.0), "one value each"),
    "numbers in Csi": (Csi(10.0, 1.0), "Csi.of"),  # type: ignore[arg-type]
    "no batch": (Csi(torch.tensor(10.0), torch.tensor(1j)), "one value each"),
    "infinite SNR": (Csi(torch.full((2,), math.inf), torch.ones(2) + 0j), "snr_db is infinite"),
    "NaN gain": (Csi(torch.zeros(2), torch.full((2,), math.nan) + 0j), "h is infinite or not"),
    "complex SNR": (Csi(torch.ones(2) + 0j, torch.ones(2) + 0j), "snr_db is complex"),
}
each_state = pytest.mark.parametrize("what", STATES)


def sentence(caught: pytest.ExceptionInfo[Any], words: str) -> None:
    text = str(caught.value)
    assert words in text and text.endswith(".") and "\n" not in text, text


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> DiffJSCCPipeline:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return DiffJSCCPipeline.from_pretrained(build_tiny_model(folder, "compact"), captioner=None)


@each_image
def test_images(pipeline: DiffJSCCPipeline, what: str) -> None:
    image, words = IMAGES[what]
    for call in (
        lambda: CODEC.encode(image, CSI),
        lambda: pipeline(image, CSI, ["a", "b"], steps=1),
        lambda: pipeline.spatial_features(image),
    ):
        with pytest.raises(SettingsError) as caught:
            call()
        sentence(caught, words)


@each_state
def test_states(pipeline: DiffJSCCPipeline, what: str) -> None:
    csi, words = STATES[what]
    symbols = CODEC.encode(IMAGE, CSI).symbols
    for call in (
        lambda: CODEC.encode(IMAGE, csi),
        lambda: CODEC.decode(symbols, csi, SIZE),
        lambda: pipeline(IMAGE, csi, ["a", "b"], steps=1),
    ):
        with pytest.raises(SettingsError) as caught:
            call()
        sentence(caught, words)


@pytest.mark.parametrize(
    ("symbols", "words"),
    [
        (lambda s: s.real, "(B, K) complex"),
        (lambda s: s[0], "(B, K) complex"),
        (lambda s: s.numpy(), "as a ndarray"),
        (lambda s: s * math.nan, "a symbol is infinite"),
        (lambda s: s[:, :-1], "do not fit"),
        (lambda s: s[:, :0], "there are none"),
    ],
)
def test_symbols(symbols: Any, words: str) -> None:
    given = symbols(CODEC.encode(IMAGE, CSI).symbols.detach())
    with pytest.raises(SettingsError) as caught:
        CODEC.decode(given, CSI, SIZE)
    sentence(caught, words)


@pytest.mark.parametrize(
    "size", [None, 64, (64,), (64, 96, 3), (0, 96), (-64, 96), "ab", (64.5, 9)]
)
def test_sizes(size: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        CODEC.decode(CODEC.encode(IMAGE, CSI).symbols, CSI, size)
    sentence(caught, "give (H, W)")


@pytest.mark.parametrize(
    "given", [{"snr_db": math.inf}, {"snr_db": math.nan}, {"snr_db": 1.0, "h": complex("nan")},
              {"snr_db": 1.0, "h": [[1.0]]}, {"snr_db": 1.0, "h": []},
              {"snr_db": 1.0, "batch": 0}, {"snr_db": 1.0, "batch": 1.5}]
)  # fmt: skip
def test_csi_of(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Csi.of(**given)


def test_what_is_right_is_taken() -> None:
    """Half precision, rounding, one pixel, and an image that an optimiser is working on."""
    for image in (IMAGE, IMAGE.half().float(), torch.zeros(2, 3, 1, 1), IMAGE * 1.0005):
        symbols = CODEC.encode(image, CSI).symbols
        size = (image.shape[-2], image.shape[-1])
        assert CODEC.decode(symbols, CSI, size).shape == image.shape
    variable = (IMAGE * 1.5).requires_grad_()
    CODEC.encode(variable, CSI).symbols.abs().sum().backward()
    assert variable.grad is not None


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_is_behind_the_same_checks(name: str) -> None:
    cls = codec_class(name)
    blank = cls.__new__(cls)  # what is wrong is seen before anything of a codec is asked for
    blank.__dict__["training"] = False
    with pytest.raises(SettingsError):
        cls.encode(blank, IMAGE.numpy(), CSI)
    with pytest.raises(SettingsError):
        cls.decode(blank, IMAGE, CSI, SIZE)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3)),
     np.zeros((3, 8, 8), np.uint8)],
)  # fmt: skip
def test_pixels_of_another_form_are_not_scored(pixels: np.ndarray) -> None:
    good = np.zeros((8, 8, 3), np.uint8)
    scorer = Scorer(metrics=["psnr", "ssim", "ms_ssim"])
    for call in (
        lambda: as_tensor(pixels),
        lambda: scorer.score(pixels, good),
        lambda: scorer.score(good, pixels),
    ):
        with pytest.raises(ValueError, match=r"give \(H, W, 3\) uint8"):
            call()


@pytest.mark.parametrize(
    "pixels",
    [None, "a.png", np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3)),
     np.zeros((3, 8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8)],
)  # fmt: skip
def test_pixels_of_another_form_are_not_sent(pixels: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        LINK.send(pixels, Fraction(1, 96), draw())
    sentence(caught, "give (H, W, 3) uint8 RGB")


def test_pixels_of_more_than_a_file_may_have_are_not_sent() -> None:
    pixels = np.broadcast_to(np.uint8(0), (8000, 8001, 3))  # takes no memory
    with pytest.raises(SettingsError) as caught:
        LINK.send(pixels, Fraction(1, 96), draw())
    sentence(caught, "more than the limit of 64000000 pixels")


def test_ratios_are_taken_as_people_write_them() -> None:
    symbols = [
        CODEC.encode(IMAGE, CSI, ratio).symbols for ratio in (Fraction(1, 96), "1/96", 0.0104)
    ]
    assert all(torch.equal(symbols[0], each) for each in symbols)
    pixels = np.zeros((32, 32, 3), np.uint8)
    assert len(LINK.send(pixels, "1/96", draw()).sent) == 32
    for call in (
        lambda: CODEC.encode(IMAGE, CSI, "much"),
        lambda: LINK.send(pixels, "0/0", draw()),
    ):
        with pytest.raises(SettingsError) as caught:
            call()
        sentence(caught, "is not a bandwidth ratio")


@pytest.mark.parametrize("settings", [None, {}, {"tx.images": ["photos"]}, "run.toml"])
def test_simulate_wants_settings(settings: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DiffJsccError, match="give make_settings"):
        simulator.simulate(settings)
    assert not list(tmp_path.iterdir())
