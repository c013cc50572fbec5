"""The predictor's training: it learns, resumes exactly, and says what is wrong."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_photographs

from simulator.errors import ModelError, SettingsError
from simulator.images import load_image
from simulator.jscc import load_codec
from simulator.jscc.adaptive import AdaptiveCodec
from simulator.jscc.checkpoint import save_codec
from simulator.jscc.folder import MANIFEST, ORANET, read_codec_folder
from simulator.jscc.oranet import load_oranet
from simulator.jscc.signal import ToDecode, ToEncode
from simulator.training.options import OraNetTraining
from simulator.training.oranet import train_oranet
from simulator.training.oranet_samples import group_of, send
from simulator.training.photographs import Photographs
from tests.fuzz.brought.commands import invoke

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs(folder, 6, (96, 128))
    return folder


@pytest.fixture(scope="module")
def options(photographs: Path) -> OraNetTraining:
    return OraNetTraining(
        data=(str(photographs),), codec="compact", steps=4, samples=9, crop=48, threads=1,
        device="cpu", checkpoint_minutes=0.0, validation=(str(photographs),), checked=1,
    )  # fmt: skip


class Interrupt(Exception):
    pass


def test_an_interrupted_training_goes_on_with_the_same_samples_and_steps(
    options: OraNetTraining, tmp_path: Path
) -> None:
    train_oranet(options, tmp_path / "whole")
    parts = tmp_path / "parts"

    def while_sending(done: int, total: int) -> None:
        assert total == options.samples
        if done:
            raise Interrupt

    def while_learning(progress) -> None:
        if progress.step == 2:
            raise Interrupt

    with pytest.raises(KeyboardInterrupt):
        train_oranet(options, parts, stop=lambda: True)
    with pytest.raises(Interrupt):
        train_oranet(options, parts, on_samples=while_sending)
    assert not (parts / ORANET).exists() and not (parts / MANIFEST).exists()
    with pytest.raises(Interrupt):
        train_oranet(options, parts, while_learning)
    train_oranet(options, parts)
    assert (parts / ORANET).read_bytes() == (tmp_path / "whole" / ORANET).read_bytes()
    # What was a new folder is a copy of the codec, with a section more in its card.
    assert load_oranet(read_codec_folder(str(parts))).codec
    assert load_codec(parts).name == "adaptive"
    card = (parts / "README.md").read_text()
    assert card.startswith("# Codec `adaptive`") and card.count("## Rate control") == 1
    assert "diffjscc train oranet" in card and "--samples 9" in card
    for ratio in (768, 384, 192, 96, 48):
        assert f"\n| 1/{ratio} | " in card.partition("## Rate control")[2]
    train_oranet(replace(options, steps=5), parts / "again")
    with pytest.raises(ModelError, match="another --out, or delete it"):
        train_oranet(replace(options, seed=3), parts)


def test_it_predicts_better_than_the_mean(options: OraNetTraining, tmp_path: Path) -> None:
    """A training of a few seconds helps on crops and states that were not trained on."""
    options = replace(options, samples=150, steps=400, ema=0.9, learning_rate=5e-3, batch=64)
    train_oranet(replace(options, validation=()), tmp_path)
    net = load_oranet(read_codec_folder(str(tmp_path)))
    codec = load_codec("compact")
    crops = Photographs.of(replace(options, batch=4))
    sent = [
        send(codec, net.features, group_of(crops, codec, options, index, CPU))
        for index in range(1000, 1016)
    ]
    features, psnr = (np.concatenate(each) for each in zip(*sent, strict=True))
    error = np.abs(net.predict(features) - psnr).mean()
    assert error < 0.5 * np.abs(psnr - psnr.mean()).mean()


def test_the_file_predicts_what_the_network_does(options: OraNetTraining, tmp_path: Path) -> None:
    """Features are brought to one scale inside the network, and outside the file as they are."""
    from simulator.training.oranet import Network

    torch.manual_seed(0)
    features = torch.randn(50, 24) * torch.linspace(0.1, 5, 24) + 3
    network = Network(features)
    net = replace(load_oranet(read_codec_folder("compact")), weights=network.weights())
    expected = network(features).detach().numpy()
    assert np.allclose(net.predict(features.numpy()), expected, atol=1e-3)


def test_psnr_of_a_sample_is_that_of_its_bits(options: OraNetTraining, photographs: Path) -> None:
    """Without noise: the codec's own reconstruction."""
    codec, seen = load_codec("compact"), load_oranet(read_codec_folder("compact")).features
    pixels = load_image(next(iter(sorted(photographs.iterdir())))).pixels
    ratio = Fraction(1, 96)
    batch = {
        "pixels": torch.tensor(pixels).permute(2, 0, 1)[None], "ratio": ratio,
        "snr_db": torch.tensor([60.0]), "h": torch.ones(1, dtype=torch.complex64),
        "noise": torch.zeros(1, codec.k(ratio, pixels.shape[:2]), dtype=torch.complex64),
    }  # fmt: skip
    _, psnr = send(codec, seen, batch)
    from simulator.jscc.ends import CodecEnds
    from simulator.phy.state import ChannelState

    ends, state = CodecEnds(codec), ChannelState(60.0)
    sent = ends.encode(ToEncode(pixels, state, ratio)).symbols
    made = ends.decode(ToDecode(sent, state, pixels.shape[:2]))
    error = np.mean((made.astype(float) - pixels) ** 2) / 255**2
    assert psnr[0] == pytest.approx(-10 * np.log10(error), abs=1e-3)


def test_mistakes(options: OraNetTraining, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--samples N, or --minutes M"):
        train_oranet(replace(options, samples=0), tmp_path / "new")
    with pytest.raises(ModelError, match="'null' carries no image"):
        train_oranet(replace(options, codec="null"), tmp_path / "new")
    with pytest.raises(ModelError, match="is not a codec"):
        train_oranet(replace(options, codec=""), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    save_codec(AdaptiveCodec(), tmp_path / "other", {})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelError, match="holds another codec than compact"):
        train_oranet(options, tmp_path / "other")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command(photographs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ("--data", photographs, "--samples", 4, "--steps", 2, "--crop", 48, "--threads", 1)
    done = invoke("train", "oranet", "--codec", "compact", *given, "--device", "cpu", "--out", out)
    assert done.code == 0, done.err
    assert done.out.strip() == f"predictor: {out / ORANET}"
    assert load_oranet(read_codec_folder(str(out)))
