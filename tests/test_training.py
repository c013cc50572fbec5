"""Stage-1 training: it learns, it resumes exactly, it says what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from helpers import cli, make_photographs
from safetensors.torch import load_file

from simulator.errors import ModelError, SettingsError
from simulator.jscc import load_codec
from simulator.training.codec import CodecTraining, learning_rate, train_codec
from simulator.training.photographs import Photographs


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


@pytest.mark.parametrize("codec", ["adaptive", "cnn"])
def test_interrupted_training_continues_with_the_same_steps(options, tmp_path, codec, monkeypatch):
    options = replace(options, codec=codec, steps=4, checkpoint_minutes=0.0)
    if codec == "cnn":  # the paper's size takes seconds a step
        from simulator.training import codec as module

        small = {"ngf": 4, "max_ngf_e": 8, "max_ngf_d": 8, "n_blocks_e": 1, "n_blocks_d": 1}
        cls = module.codec_class("cnn")
        monkeypatch.setattr(module, "codec_class", lambda _: lambda **kw: cls(**kw, **small))
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


def test_other_settings_do_not_continue_a_training(options, tmp_path):
    train_codec(replace(options, steps=2), tmp_path)
    with pytest.raises(ModelError, match="learning_rate"):
        train_codec(replace(options, steps=2, learning_rate=1.0), tmp_path)


def test_damaged_checkpoint(options, tmp_path):
    (tmp_path / "training.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="delete it"):
        train_codec(options, tmp_path)


def test_what_is_missing_is_said(options, tmp_path):
    with pytest.raises(SettingsError, match="--steps"):
        train_codec(replace(options, steps=0), tmp_path)
    with pytest.raises(SettingsError, match="--data"):
        train_codec(replace(options, data=()), tmp_path)


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
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert len(json.loads((out / "codec.json").read_text())["training"]["validation"]) == 10
    exported = cli("export", out)
    assert exported.returncode == 0, exported.stderr
    assert (out / "encoder.onnx").is_file()
