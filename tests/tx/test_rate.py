"""Rate control: which ratio is chosen, and that it is the same everywhere."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import cli, make_photographs, without_graph
from link_world import linked

from simulator.chain import load_link
from simulator.errors import ModelError, SettingsError
from simulator.evaluation.experiment import make_experiment
from simulator.evaluation.sweep import local_engine, run_sweep
from simulator.images import load_image, sample_photographs
from simulator.jscc.folder import read_codec_folder
from simulator.jscc.oranet import detail_of, load_oranet
from simulator.jscc.rates import BANDWIDTH_RATIOS, layout_of
from simulator.jscc.signal import ToEncode
from simulator.jscc.wrap import WRAPPERS, wrap
from simulator.phy.power import mean_power
from simulator.phy.state import ChannelState
from simulator.settings import TxSettings, make_settings
from tests.fuzz.brought.commands import invoke
from tx.encoder import make_encoder
from tx.rate import RateEncoder

pytestmark = pytest.mark.usefixtures("one_thread")
FOLDER = read_codec_folder("compact")
PLAIN = make_encoder(TxSettings(threads=1), FOLDER)
ORANET = load_oranet(FOLDER)
STATES = [
    ChannelState(1.0),
    ChannelState(14.0),
    ChannelState(8.0, np.array([0.3 + 0.4j], np.complex64)),
]
PIXELS = [load_image(path).pixels[:208, :336] for path in sample_photographs()[:3]]


@cache
def maps_of(image: int, state: int, ratio: Fraction) -> np.ndarray:
    return PLAIN.maps(PIXELS[image], STATES[state], ratio)


@cache
def sent_by(image: int, state: int, ratio: Fraction) -> np.ndarray:
    """By the encoder without rate control."""
    return PLAIN.encode(ToEncode(PIXELS[image], STATES[state], ratio)).symbols


@cache
def promises(image: int, state: int) -> list[float]:
    """The predicted PSNR at every ratio."""
    detail = detail_of(PIXELS[image])
    return [
        float(
            ORANET.predict(ORANET.features.of(maps_of(image, state, r), detail, STATES[state], r))
        )
        for r in BANDWIDTH_RATIOS
    ]


class Counting:
    """The encoder of the codec at one image and state, which says at what it was asked."""

    ratios, rounds = BANDWIDTH_RATIOS, 1

    def __init__(self, image: int, state: int) -> None:
        self.image, self.state = image, state
        self.asked: list[Fraction] = []

    def k(self, size: tuple[int, int], ratio: Fraction) -> int:
        return PLAIN.k(size, ratio)

    def maps(self, pixels: np.ndarray, state: ChannelState, ratio: Fraction) -> np.ndarray:
        self.asked.append(ratio)
        return maps_of(self.image, self.state, ratio)

    def modulated(self, maps: np.ndarray) -> np.ndarray:
        return PLAIN.modulated(maps)

    def encode(self, *_: Any) -> Any:
        raise AssertionError("the maps that were judged are those that are sent")


@pytest.mark.parametrize("budget", BANDWIDTH_RATIOS)
def test_the_smallest_ratio_that_promises_the_target(budget: Fraction) -> None:
    """Against the prediction at every ratio; at most three of five are encoded."""
    chosen = set()
    allowed = BANDWIDTH_RATIOS[: BANDWIDTH_RATIOS.index(budget) + 1]
    for image, state in product(range(len(PIXELS)), range(len(STATES))):
        promised = promises(image, state)
        for target in [promised[0] - 1, *(p + d for p in promised for d in (-0.01, 0.01))]:
            inner = Counting(image, state)
            encoder = RateEncoder(inner, ORANET, target)
            symbols = encoder.encode(ToEncode(PIXELS[image], STATES[state], budget)).symbols
            enough = [r for r, p in zip(allowed, promised, strict=False) if p >= target]
            best = enough[0] if enough else budget
            assert np.array_equal(symbols, sent_by(image, state, best))
            assert len(symbols) == layout_of(best, PIXELS[image].shape[:2]).k
            assert len(set(inner.asked)) == len(inner.asked) <= 3
            chosen.add(best)
    assert chosen == set(allowed)


def test_onnx_and_torch_choose_and_send_the_same() -> None:
    chosen = set()
    for target in (20.0, 22.0, 24.0, 26.0):
        ends = [
            make_encoder(TxSettings(runtime=each, threads=1, target_psnr_db=target), FOLDER)
            for each in ("onnx", "torch")
        ]
        for pixels in PIXELS:
            for state in STATES:
                a, b = (
                    end.encode(ToEncode(pixels, state, Fraction(1, 48))).symbols for end in ends
                )
                assert len(a) == len(b) and a.dtype == b.dtype == np.complex64
                assert np.abs(a - b).max() < 1e-4 and mean_power(a) == pytest.approx(1, abs=1e-4)
                chosen.add(len(a))
    assert len(chosen) >= 4


def test_the_smallest_images_are_sent() -> None:
    encoder = make_encoder(TxSettings(target_psnr_db=24.0), FOLDER)
    for size in ((1, 1), (16, 16), (17, 300)):
        pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        symbols = encoder.encode(ToEncode(pixels, STATES[0], Fraction(1, 48))).symbols
        assert 1 <= len(symbols) <= encoder.k(size, Fraction(1, 48))


def test_what_cannot_be(tmp_path: Path) -> None:
    encoder = make_encoder(TxSettings(target_psnr_db=24.0), FOLDER)
    with pytest.raises(SettingsError, match="no bandwidth ratio 1/50"):
        encoder.encode(ToEncode(PIXELS[0], STATES[0], Fraction(1, 50)))
    for value in (4.0, 1000.0, "much"):
        with pytest.raises(SettingsError, match="target_psnr_db = "):
            load_link("compact", target_psnr_db=value)  # type: ignore[arg-type]
    inner = without_graph(tmp_path / "inner")
    for name in WRAPPERS:
        folder = wrap(name, str(inner), tmp_path / name)
        with pytest.raises(ModelError, match=f"'{name}' has no rate control"):
            load_link(str(folder), target_psnr_db=24.0)
    with pytest.raises(ModelError, match="'null' carries no image"):
        make_encoder(TxSettings(target_psnr_db=24.0), read_codec_folder("null"))


def test_a_run_from_before_the_setting_can_go_on() -> None:
    plain, aimed = (make_settings(overrides=each) for each in ({}, {"tx.target_psnr_db": 24}))
    assert set(plain.tx_hash_fields("codec")) == {"codec", "seed"}
    told = aimed.tx_hash_fields("codec", "of a file")
    assert (told["target_psnr_db"], told["oranet"]) == (24, "of a file")


@pytest.mark.parametrize("air", ["flat", "blocks"])
def test_a_row_of_a_sweep_equals_that_of_the_link(tmp_path: Path, air: str) -> None:
    images = tmp_path / "images"
    make_photographs(images, 3, (176, 192))
    settings = {"kind": "rayleigh"}
    if air == "blocks":
        settings |= {"coherence_time": 40, "csit": "average", "csir": "estimated", "pilots": 4}
    given = {f"channel.{key}": value for key, value in settings.items()}
    rows = linked(
        make_settings(
            overrides={
                "tx.images": [str(images)], "tx.repeats": 3, "out": str(tmp_path / "run"),
                "rx.refine": False, "rx.lpips": False, "rx.threads": 1, "tx.threads": 1,
                "channel.snr_db": [6.0], "tx.bandwidth_ratio": "1/96",
                "tx.target_psnr_db": 24.0, **given,
            }
        )
    )  # fmt: skip
    there = {(row["image"], row["repeat"]): row for row in rows}
    (tmp_path / "plain.toml").touch()
    plan = make_experiment(
        tmp_path / "plain.toml",
        {
            "images": [str(images)], "snr_db": 6.0, "cbr": "1/96", "metrics": ["psnr"],
            "repeats": 3, "threads": 1, "methods": ["jscc", "jscc:target_psnr=24"],
        },
        [f"{key}={value}" for key, value in given.items()],
    )  # fmt: skip
    found = run_sweep(plan, tmp_path / "sweep", local_engine)
    controlled = [row for row in found.rows if row["method"] == "jscc:target_psnr=24"]
    assert len(controlled) == len(there) == 9
    for row in controlled:
        other = there[row["image"], row["repeat"]]
        for key in ("k", "pilots", "cbr", "bandwidth_ratio", "snr_db", "h_abs2"):
            assert row[key] == other[key], key
        assert row["psnr"] == other["psnr_preview"]
    budget = layout_of(Fraction(1, 96), (176, 192)).k
    used = {row["k"] for row in controlled}
    assert max(used) <= budget and (air == "blocks" or len(used) > 1)
    fixed, aimed = found.lines
    assert fixed.sent_ratio is None and aimed.sent_ratio == aimed.bandwidth_ratio
    assert aimed.sent_ratio == pytest.approx(
        np.mean([row["bandwidth_ratio"] for row in controlled]), rel=1e-6
    )
    assert aimed.sent_ratio < fixed.bandwidth_ratio  # type: ignore[operator]


def test_the_command_line(tmp_path: Path) -> None:
    images = tmp_path / "images"
    make_photographs(images, 2)
    run = ("simulate", images, "--refine", "off", "--snr-db", 12, "--cbr", "1/48")
    quick = ("--set", "rx.lpips=false")
    done = cli(*run, *quick, "--target-psnr", 15, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "sent" in done.stdout and "1/768" in done.stdout
    folder = wrap("feedback", str(without_graph(tmp_path / "inner")), tmp_path / "feedback")
    for codec, words in ((folder, "codec 'feedback' has no rate control"), ("null", "no image")):
        out = tmp_path / "refused"
        done = invoke(*run, "--target-psnr", 15, "--codec", codec, "--out", out)
        assert done.code == 4 and words in done.err
        assert not out.exists()
    done = invoke(*run, "--target-psnr", 99, "--out", tmp_path / "refused")
    assert done.code == 3 and "tx.target_psnr_db" in done.err
