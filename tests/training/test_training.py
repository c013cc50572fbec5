"""Stage-1 training: it learns, it resumes exactly, it says what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from helpers import cli, make_photographs
from safetensors.torch import load_file

from simulator.errors import ModelError, SettingsError
from simulator.jscc import load_codec
from simulator.jscc.adaptive import AdaptiveCodec
from simulator.jscc.checkpoint import check_same_encoder
from simulator.jscc.registry import codec_class
from simulator.training import codec as training
from simulator.training.codec import train_codec
from simulator.training.codec_loss import CodecLosses, Crops, send_crops
from simulator.training.codec_options import CodecTraining
from simulator.training.discriminator import PatchDiscriminator
from simulator.training.photographs import Photographs
from simulator.training.schedule import learning_rate
from simulator.training.state import read_tensors, write_tensors


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs(folder, 6)
    return folder


@pytest.fixture
def options(photographs):
    return CodecTraining(data=(str(photographs),), steps=6, batch=2, crop=64, threads=1)


class Interrupt(Exception):
    pass


def stop_at(step: int):
    def report(progress):
        if progress.step == step:
            raise Interrupt

    return report


@pytest.fixture
def small_cnn(monkeypatch):
    """A cnn is made smaller than the paper's, which takes seconds a step."""
    small = {"ngf": 4, "max_ngf_e": 8, "max_ngf_d": 8, "n_blocks_e": 1, "n_blocks_d": 1}
    cls = codec_class("cnn")
    monkeypatch.setattr(
        training,
        "codec_class",
        lambda name: partial(cls, **small) if name == "cnn" else codec_class(name),
    )


@pytest.mark.parametrize(
    ("codec", "adversarial"), [("adaptive", 0.0), ("adaptive", 0.1), ("cnn", 0.0), ("cnn", 0.1)]
)
def test_interrupted_training_continues_with_the_same_steps(
    options, tmp_path, codec, adversarial, small_cnn
):
    options = replace(options, codec=codec, steps=4, checkpoint_minutes=0.0)
    options = replace(options, adversarial=adversarial)
    if codec == "cnn":
        options = replace(options, channel="awgn")
    train_codec(options, tmp_path / "whole")
    with pytest.raises(Interrupt):
        # Checkpoints are written after the report: this step is lost and made again.
        train_codec(options, tmp_path / "parts", stop_at(2))
    with pytest.raises(KeyboardInterrupt):  # a stop loses nothing
        train_codec(options, tmp_path / "parts", stop=lambda: True)
    steps = []
    train_codec(options, tmp_path / "parts", lambda progress: steps.append(progress.step))
    assert steps == [3, 4]
    whole, parts = (load_file(tmp_path / n / "codec.safetensors") for n in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_training_lowers_the_loss(options, tmp_path):
    losses = []
    train_codec(
        replace(options, steps=40, channel="awgn", snr_db=(10, 10)),
        tmp_path,
        lambda progress: losses.append(progress.loss),
    )
    assert len(losses) == 40
    assert sum(losses[-10:]) < sum(losses[:10])
    record = json.loads((tmp_path / "codec.json").read_text())
    assert record["training"]["progress"]["step"] == 40
    assert record["training"]["options"]["seed"] == 0
    load_codec(tmp_path)


def test_lpips_looks_at_every_phase_of_its_stride():
    """A grid of AlexNet's stride costs a decoder what it costs at the phase that was drawn."""
    options = CodecTraining(data=("none",), lpips=1.0, batch=1, crop=64)
    losses, image = CodecLosses(options), torch.rand(1, 3, 64, 64)
    grid = image.clone()
    grid[..., ::4, ::4] = 0
    nothing = torch.tensor(0.0)
    phases = [(0, 0), (1, 2), (3, 3)]
    found = [float(losses.of_codec(Crops(image, grid, nothing, phase))) for phase in phases]
    assert losses.lpips is not None
    wanted = [float(losses.lpips(grid[..., y:, x:], image[..., y:, x:])) for y, x in phases]
    assert found == wanted and len(set(found)) == 3

    codec, pixels = AdaptiveCodec().eval(), np.zeros((1, 64, 64, 3), np.uint8)
    drawn = {send_crops(codec, pixels, step, options).phase for step in range(40)}
    assert drawn <= {(y, x) for y in range(4) for x in range(4)} and len(drawn) > 8


def test_other_settings_do_not_continue_a_training(options, tmp_path):
    train_codec(replace(options, steps=2), tmp_path)
    with pytest.raises(ModelError, match="learning_rate"):
        train_codec(replace(options, steps=2, learning_rate=1.0), tmp_path)


def test_the_adversary_pulls_the_codec_and_learns_itself(options, tmp_path):
    plain = train_codec(replace(options, steps=3), tmp_path / "plain")
    folder = train_codec(replace(options, steps=3, adversarial=1.0), tmp_path / "adv")
    a, b = (load_file(f / "training.safetensors") for f in (plain, folder))
    critic = {k for k in b if k.startswith("critic.")}
    assert a.keys() == b.keys() - critic
    assert any(not torch.equal(a[k], b[k]) for k in a if k.startswith("model.decoder"))
    torch.manual_seed(options.seed + 1)
    fresh = PatchDiscriminator().state_dict()
    weights = [k for k, v in fresh.items() if v.ndim > 1]
    assert all(not torch.equal(b[f"critic.model.{k}"], fresh[k]) for k in weights)
    assert "--adversarial 1 " in (folder / "README.md").read_text()
    assert not {k for k in load_file(folder / "codec.safetensors") if "critic" in k}


@pytest.mark.parametrize("codec", ["adaptive", "cnn"])
def test_a_decoder_is_trained_alone_on_lpips(options, tmp_path, codec, small_cnn):
    options = replace(options, codec=codec, channel="awgn", steps=3)
    first = train_codec(options, tmp_path / "first")
    tuned = replace(options, init=str(first), freeze="encoder", lpips=1.0, checkpoint_minutes=0.0)
    whole = train_codec(tuned, tmp_path / "whole")
    with pytest.raises(Interrupt):
        train_codec(tuned, tmp_path / "parts", stop_at(2))
    parts = train_codec(tuned, tmp_path / "parts")
    before, after, again = (load_file(f / "codec.safetensors") for f in (first, whole, parts))
    half = load_codec(first).encoder_name + "."
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith(half))
    assert any(not torch.equal(before[k], after[k]) for k in before)
    assert all(torch.equal(after[k], again[k]) for k in after)
    card = (whole / "README.md").read_text()
    assert "--lpips 1 " in card and "--freeze encoder" in card
    check_same_encoder(str(first), str(whole))
    stranger = train_codec(replace(options, init="", seed=9, steps=1), tmp_path / "stranger")
    with pytest.raises(ModelError, match=f"cannot decode what {first} sends.*--freeze encoder"):
        check_same_encoder(str(first), str(stranger))


def test_checkpoints_from_before_the_adversary_go_on(options, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_codec(options, tmp_path, stop=lambda: True)
    record, tensors = read_tensors(tmp_path / "training.safetensors")
    for name in ("adversarial", "lpips", "freeze"):
        del record["options"][name]
    write_tensors(tmp_path / "training.safetensors", tensors, record)
    train_codec(options, tmp_path)
    with pytest.raises(ModelError, match="adversarial"):
        train_codec(replace(options, adversarial=0.1), tmp_path)


def test_damaged_checkpoint(options, tmp_path):
    (tmp_path / "training.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="delete it"):
        train_codec(options, tmp_path)


def test_what_is_missing_is_said(options, tmp_path):
    with pytest.raises(SettingsError, match="--steps"):
        train_codec(replace(options, steps=0), tmp_path)
    with pytest.raises(SettingsError, match="--data"):
        train_codec(replace(options, data=()), tmp_path)
    with pytest.raises(SettingsError, match="--init"):
        train_codec(replace(options, freeze="encoder"), tmp_path)
    with pytest.raises(SettingsError, match="none or encoder"):
        train_codec(replace(options, freeze="decoder"), tmp_path)
    with pytest.raises(SettingsError, match="34 px"):
        train_codec(replace(options, lpips=1.0, crop=16), tmp_path)
    with pytest.raises(SettingsError, match="give 0 or more"):
        train_codec(replace(options, adversarial=-1.0), tmp_path)


def test_minutes_become_steps(options, tmp_path):
    seen = []
    train_codec(replace(options, steps=0, minutes=0.001), tmp_path, lambda p: seen.append(p.steps))
    assert seen[0] == 0 and seen[-1] == len(seen) == 40


def test_crops_are_a_function_of_seed_and_step(photographs):
    source = Photographs([photographs], crop=80, batch=3, seed=1)
    streamed = list(source.stream(5, 9))
    again = Photographs([photographs], crop=80, batch=3, seed=1, cache_bytes=1)
    assert len(streamed) == 4
    for step, crops in enumerate(streamed, start=5):
        assert crops.shape == (3, 80, 80, 3)
        assert (crops == again.at(step)).all()
    assert (streamed[0] != streamed[1]).any()


def test_small_photographs_are_extended(photographs):
    assert Photographs([photographs], crop=200, batch=1, seed=0).at(0).shape == (1, 200, 200, 3)


def test_schedule():
    assert learning_rate(0, 1000, 1e-3) == pytest.approx(1e-5)
    assert learning_rate(500, 1000, 1e-3) == pytest.approx(5e-4)
    assert learning_rate(999, 1000, 1e-3) < 1e-8


def test_train_and_export_by_the_command_line(photographs, tmp_path):
    out = tmp_path / "codec"
    trained = cli(
        "train", "codec", "--data", photographs, "--out", out, "--steps", 2, "--batch", 1,
        "--crop", 32, "--threads", 1, "--validation", photographs / "photo00.png",
        "--adversarial", 0.01,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert len(json.loads((out / "codec.json").read_text())["training"]["validation"]) == 10
    exported = cli("export", out)
    assert exported.returncode == 0, exported.stderr
    assert (out / "encoder.onnx").is_file()
