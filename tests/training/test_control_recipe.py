"""Stage 2 as the paper has it: its numbers, and the channel that the codec was trained for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from helpers import make_photographs
from safetensors.torch import load_file

from rx.captioner import NoCaptioner
from simulator.cli.main import app
from simulator.jscc.checkpoint import save_codec
from simulator.jscc.cnn import CnnCodec
from simulator.jscc.folder import resolve
from simulator.jscc.swin_official import OfficialSwinCodec
from simulator.training import control
from simulator.training.checks import check_options
from simulator.training.control import channel_of
from simulator.training.latents import LatentCache
from simulator.training.loop import Loop
from simulator.training.model_card import optimiser_of
from simulator.training.options import (
    PAPER,
    Channel,
    ControlTraining,
    LoopOptions,
    with_recipe,
)
from simulator.training.player import Player, averaged
from simulator.training.schedule import learning_rate
from simulator.training.stage import Stage

SMALL = {"ngf": 4, "max_ngf_e": 8, "max_ngf_d": 8, "n_blocks_e": 1, "n_blocks_d": 1}


# The channel


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda: (CnnCodec(4, "awgn", **SMALL), {}), "awgn"),
        (lambda: (CnnCodec(4, "rayleigh", **SMALL), {}), "rayleigh"),
        (lambda: (CnnCodec(4, "rayleigh", **SMALL), {"options": {"channel": "awgn"}}), "rayleigh"),
        (lambda: (OfficialSwinCodec(4, *[(8,), (2,), (2,)] * 2, window=4), {}), "awgn"),
    ],
)
def test_a_codec_says_what_it_was_trained_for(made: Any, expected: str, tmp_path: Path) -> None:
    codec, training = made()
    save_codec(codec, tmp_path / "codec", training)
    assert channel_of(tmp_path / "codec") == expected


def test_so_does_the_record_of_its_training() -> None:
    assert channel_of(resolve("compact")) == "both"


@pytest.mark.parametrize("channel", ["awgn", "rayleigh", "both"])
def test_gains_are_those_of_the_channel(tmp_path: Path, channel: Channel) -> None:
    photographs = tmp_path / "photographs"
    make_photographs(photographs, 8, (64, 64))
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=8, latent_channels=4)
    codec = CnnCodec(4, "rayleigh", **SMALL).eval()
    made = (tmp_path / "cache", [photographs], vae, NoCaptioner(), 0, 2, codec, (0.0, 14.0))
    cache = LatentCache(*made, None, channel)
    cache.fill(torch.device("cpu"))
    items = [cache.item(index, variant) for index in range(8) for variant in (0, 1)]
    faded = sum(item.h != 1 for item in items)
    assert {"awgn": faded == 0, "rayleigh": faded == 16, "both": 2 < faded < 14}[channel]
    assert all(0 <= item.snr_db <= 14 for item in items)
    # What was computed for one channel is not taken for another's.
    others: list[Channel] = ["awgn", "rayleigh", "both"]
    for other in others:
        LatentCache(*made, None, other)
    assert len(list((tmp_path / "cache").glob("received-*"))) == 3


# The recipe


def test_the_papers_numbers_are_options_that_can_be_followed() -> None:
    check_options(ControlTraining(data=("photographs",), recipe="paper", **PAPER))
    assert (PAPER["steps"], PAPER["batch"], PAPER["crop"]) == (25_000, 16, 512)
    assert (PAPER["learning_rate"], PAPER["decay"], PAPER["warmup"]) == (1e-4, "none", 1)
    assert (PAPER["ema"], PAPER["weight_decay"], PAPER["clip_norm"]) == (0, 0.01, 0)
    assert (PAPER["captioner"], PAPER["caption_dropout"]) == ("blip2", 0)
    assert (PAPER["snr_db"], PAPER["snr_scale"], PAPER["times"]) == ((0, 14), 100, "uniform")
    assert (PAPER["solver"], PAPER["sampling_steps"], PAPER["precision"]) == ("ddpm", 50, "no")


def called(monkeypatch: pytest.MonkeyPatch, *words: str) -> ControlTraining:
    """The options that ``train control`` with these words trains by."""
    found: list[ControlTraining] = []

    def run(options: ControlTraining, out: Path, *_: Any) -> Path:
        found.append(options)
        return out

    monkeypatch.setattr(control, "train_control", run)
    app(["train", "control", "--data", "photos", "--out", "model", *words], standalone_mode=False)
    return found[0]


def test_an_option_that_is_given_counts_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = called(monkeypatch, "--recipe", "paper")
    assert all(getattr(paper, name) == value for name, value in PAPER.items())
    faces = called(
        monkeypatch, "--recipe", "paper", "--snr-range", "-5", "5", "--crop", "256",
        "--precision", "bf16", "--channel", "rayleigh", "--minutes", "3",
    )  # fmt: skip
    given = {"snr_db": (-5.0, 5.0), "crop": 256, "precision": "bf16", "channel": "rayleigh"}
    given |= {"steps": 0, "minutes": 3.0}
    assert faces == replace(paper, **given)
    own = called(monkeypatch, "--steps", "5")
    assert own == ControlTraining(data=("photos",), steps=5)
    # A default that is given is given, too.
    assert called(monkeypatch, "--recipe", "paper", "--batch", "16", "--ema", "0.999").ema == 0.999


def test_without_a_recipe_nothing_changes() -> None:
    options = {"recipe": "own", "batch": 3}
    assert with_recipe(options, set()) == options


# The loop


class Line(Stage):
    """y = w x, towards 2 x."""

    name = "line"

    def __init__(self) -> None:
        torch.manual_seed(0)
        network = torch.nn.Linear(1, 1)
        network.forward = lambda batch, step: {  # type: ignore[method-assign]
            "error": ((network.weight - 2) * batch["x"]).square().mean() + 0 * network.bias.sum()
        }
        self.players = [Player("line", network, 0.1)]

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Nothing is frozen."""

    def batch(self, step: int, process: int, micro: int) -> dict[str, Any]:
        return {"x": torch.ones(2)}

    def validate(self) -> dict[str, float]:
        return {}

    def picture(self, path: Path) -> None:
        """Nothing to see."""


def test_no_average_a_constant_rate_and_weight_decay(tmp_path: Path) -> None:
    assert learning_rate(0, 0.0, 0.1, 1, "none") == learning_rate(99, 1.0, 0.1, 1, "none") == 0.1
    options = LoopOptions(
        steps=3, warmup=1, clip_norm=0.0, ema=0.0, decay="none", weight_decay=0.01, device="cpu"
    )
    stage = Line()
    loop = Loop(stage, options, tmp_path)
    before = torch.nn.Linear(1, 1)
    before.load_state_dict(stage.players[0].network.state_dict())
    adam = torch.optim.AdamW(before.parameters(), 0.1)  # its weight decay is 0.01
    loop.run()
    for _ in range(3):
        adam.zero_grad()
        ((before.weight - 2).square().sum() + 0 * before.bias.sum()).backward()
        adam.step()
    torch.testing.assert_close(stage.players[0].network.weight, before.weight)
    torch.testing.assert_close(stage.players[0].network.bias, before.bias)
    assert stage.players[0].ema is None
    with averaged(stage.players):
        torch.testing.assert_close(stage.players[0].network.weight, before.weight)
    assert not any(".ema." in name for name in load_file(tmp_path / "line.safetensors"))
    again = Loop(Line(), options, tmp_path)
    assert again.progress.step == 3


def test_the_card_says_how() -> None:
    paper = {name: PAPER[name] for name in ("learning_rate", "weight_decay", "decay", "ema")}
    assert optimiser_of(paper) == (
        "AdamW, weight decay 0.01, peak 0.0001, constant; no moving average"
    )
    old = optimiser_of({"learning_rate": 4e-4, "ema": 0.999})
    assert old == "Adam, peak 0.0004, cosine to zero; moving average 0.999"
