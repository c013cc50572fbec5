"""Stage-1 training: it learns, it resumes exactly, it says what is wrong."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from fractions import Fraction
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_photographs
from safetensors.torch import load_file

from simulator.errors import ImageError, ModelError, SettingsError
from simulator.jscc import adaptive, load_codec
from simulator.jscc.adaptive import AdaptiveCodec
from simulator.jscc.checkpoint import check_same_encoder
from simulator.metrics.lpips import load_lpips_vgg
from simulator.png import save_png
from simulator.training import codec_loss
from simulator.training.airs import draw_snr, selective_gains
from simulator.training.codec import CodecStage, build_codec, train_codec
from simulator.training.codec_loss import (
    CodecLosses,
    draw_channel,
    send_crops,
)
from simulator.training.discriminator import PatchDiscriminator
from simulator.training.drawn import draw_picture
from simulator.training.model_card import names_of_folders
from simulator.training.options import CodecTraining
from simulator.training.phase import draw_phase
from simulator.training.photographs import Photographs
from simulator.training.schedule import learning_rate
from tests.fuzz.brought.commands import invoke


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """``adaptive`` with one block where it has up to 14, and a fifth of its weights."""
    blocks = adaptive.Blocks
    monkeypatch.setattr(adaptive, "Blocks", lambda count, *sizes: blocks(1, *sizes))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs(folder, 6)
    return folder


@pytest.fixture
def options(photographs):
    return CodecTraining(
        data=(str(photographs),), steps=6, batch=2, crop=32, threads=1, device="cpu"
    )


class Interrupt(Exception):
    pass


def stop_at(step: int):
    def report(progress):
        if progress.step == step:
            raise Interrupt

    return report


# Smaller than the paper's, which takes seconds a step.
SMALL_CNN = ("ngf=4", "max_ngf_e=8", "max_ngf_d=8", "n_blocks_e=1", "n_blocks_d=1")


@pytest.mark.parametrize(("codec", "adversarial"), [("adaptive", 0.1), ("cnn", 0.0)])
def test_interrupted_training_continues_with_the_same_steps(options, tmp_path, codec, adversarial):
    options = replace(options, codec=codec, steps=4, checkpoint_minutes=0.0)
    options = replace(options, adversarial=adversarial)
    if codec == "cnn":
        options = replace(options, channel="awgn", config=SMALL_CNN)
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
    """On the same crops, channels and noise before and after."""
    point = {"channel": "awgn", "snr_db": (10, 10), "drawn": 0.0, "zoom": 0.0}
    options = replace(options, steps=60, warmup=5, **point)
    seen = []
    train_codec(options, tmp_path, lambda progress: seen.append(progress.loss))
    assert len(seen) == 60
    source = Photographs([Path(options.data[0])], crop=32, batch=2, seed=9)
    found = []
    for codec in (build_codec(options), load_codec(tmp_path)):
        losses = CodecLosses(codec, None, options).eval()
        with torch.no_grad():
            crops = ({"image": source.at(i) / 255, "seed": i} for i in range(10))
            batches = (draw_channel(codec, each, options) for each in crops)
            found.append(sum(float(losses(batch, 0)["distortion"]) for batch in batches))
    assert found[1] < found[0] - 1
    record = json.loads((tmp_path / "codec.json").read_text())
    assert record["training"]["progress"]["step"] == 60
    assert record["training"]["options"]["seed"] == 0


def crops_of(seed: int, side: int = 64) -> dict:
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed))
    return {"image": image, "seed": seed, "done": 0.0}


def test_lpips_looks_at_every_phase(monkeypatch):
    """A grid costs a decoder what it costs at the phase that was drawn."""
    options = CodecTraining(data=("none",), lpips=1.0, batch=1, crop=64)
    network, batch = load_lpips_vgg(), crops_of(0)
    grid = batch["image"].clone()
    grid[..., ::4, ::4] = 0
    codec = AdaptiveCodec()
    monkeypatch.setattr(codec, "trained_through", lambda *_: (grid, {}))
    batch = draw_channel(codec, batch, options)
    losses = CodecLosses(codec, network, options)
    phases = [(0, 0), (1, 2), (7, 3)]
    found = []
    for phase in phases:
        monkeypatch.setattr(codec_loss, "draw_phase", lambda _, phase=phase: phase)
        found.append(float(losses(batch, 0)["lpips"]))
    image = batch["image"]
    wanted = [float(network(grid[..., y:, x:], image[..., y:, x:])) for y, x in phases]
    assert found == wanted and len(set(found)) == 3
    drawn = {draw_phase(torch.Generator().manual_seed(step)) for step in range(100)}
    assert drawn <= {(y, x) for y in range(8) for x in range(8)} and len(drawn) > 40


def test_states_of_training(options):
    """SNR over its span and often in the middle; selective gains of mean square 1."""
    generator = torch.Generator().manual_seed(0)
    snr = draw_snr(4000, (-5.0, 20.0), generator)
    assert snr.min() >= -5 and snr.max() <= 20
    middle = ((snr > 0) & (snr < 14)).float().mean()
    assert abs(middle - (0.6 + 0.4 * 14 / 25)) < 0.03
    assert (draw_snr(9, (3.0, 3.0), generator) == 3).all()
    gains = selective_gains(500, 640, generator)
    power = gains.abs().square()
    assert torch.allclose(power.mean(dim=1), torch.ones(500), atol=1e-4)
    assert power.std() > 0.7  # Rayleigh: 1, less what eight taps do not resolve
    assert torch.equal(gains[:, :64], gains[:, 64:128])


def test_the_decoder_is_given_the_noise_of_each_symbol(monkeypatch):
    codec = AdaptiveCodec().eval()
    seen = []
    real = codec.synthesise
    monkeypatch.setattr(
        codec, "synthesise", lambda z, csi, noise: seen.append(noise) or real(z, csi, noise)
    )
    options = CodecTraining(data=("none",), channel="both", batch=8)
    image = torch.rand(8, 3, 64, 64)
    for seed in range(6):
        result, csi = send_crops(
            codec, draw_channel(codec, {"image": image, "seed": seed}, options)
        )
        assert result.shape == image.shape and csi.snr_db.shape == (8,)
    flat = [noise.std(dim=(1, 2, 3)) / noise.mean(dim=(1, 2, 3)) < 1e-5 for noise in seen]
    share = 1 - torch.cat(flat).float().mean()
    assert 0.02 < share < 0.4  # SELECTIVE_SHARE of 48


def test_other_settings_do_not_continue_a_training(options, tmp_path):
    train_codec(replace(options, steps=2), tmp_path)
    with pytest.raises(ModelError, match="--learning-rate"):
        train_codec(replace(options, steps=2, learning_rate=1.0), tmp_path)


def test_the_adversary_pulls_the_codec_and_learns_itself(options, tmp_path):
    plain = train_codec(replace(options, steps=3), tmp_path / "plain")
    folder = train_codec(replace(options, steps=3, adversarial=1.0), tmp_path / "adv")
    a, b = (load_file(f / "training" / "codec.safetensors") for f in (plain, folder))
    critic = {k for k in b if k.startswith("critic.")}
    assert a.keys() == b.keys() - critic
    assert any(not torch.equal(a[k], b[k]) for k in a if k.startswith("codec.model.codec.decoder"))
    torch.manual_seed(options.seed + 1)
    fresh = PatchDiscriminator().state_dict()
    weights = [k for k, v in fresh.items() if v.ndim > 1]
    assert all(not torch.equal(b[f"critic.model.critic.{k}"], fresh[k]) for k in weights)
    assert "--adversarial 1 " in (folder / "README.md").read_text()
    assert not {k for k in load_file(folder / "codec.safetensors") if "critic" in k}


@pytest.mark.parametrize("codec", ["adaptive", "cnn"])
def test_a_decoder_is_trained_alone_on_lpips(options, tmp_path, codec):
    options = replace(options, codec=codec, channel="awgn", steps=3, crop=40)
    options = replace(options, config=SMALL_CNN if codec == "cnn" else ())
    first = train_codec(options, tmp_path / "first")
    tuned = replace(options, config=(), init=str(first), freeze="encoder", lpips=1.0)
    tuned = replace(tuned, checkpoint_minutes=0.0)
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


def test_damaged_checkpoint(options, tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "codec.safetensors").write_bytes(b"nothing")
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
    with pytest.raises(SettingsError, match="38 px"):
        train_codec(replace(options, lpips=1.0, crop=16), tmp_path)
    with pytest.raises(SettingsError, match="give 0 or more"):
        train_codec(replace(options, adversarial=-1.0), tmp_path)


def test_a_codec_is_trained_at_the_ratios_that_are_named(options, tmp_path):
    stage = CodecStage(replace(options, ratios=("1/48", "1/48", "1/768")))
    drawn = [stage.prepare(stage.batch(step, 0, 0))["ratio"] for step in range(60)]
    assert set(drawn) == {Fraction(1, 48), Fraction(1, 768)}
    assert 30 < drawn.count(Fraction(1, 48)) < 50
    with pytest.raises(SettingsError, match="no bandwidth ratio 1/50"):
        train_codec(replace(options, ratios=("1/50",)), tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    train_codec(replace(options, steps=1, ratios=("1/48", "1/96")), tmp_path)
    assert "--ratio 1/48 \\\n    --ratio 1/96 " in (tmp_path / "README.md").read_text()


def test_a_start_is_of_crops_of_one_size(options):
    """Where some batches have larger ones."""
    CodecStage(replace(options, large=0.5))


def test_a_training_ends_within_its_minutes(options, tmp_path, monkeypatch):
    """And goes on for what is left of them; its schedule spans them. Time goes on by a tenth of a
    second whenever it is asked for."""
    ticks = count(step=0.1)
    for name in ("monotonic", "process_time"):
        monkeypatch.setattr(time, name, lambda: next(ticks))
    seen = []
    options = replace(options, steps=0, minutes=0.05, checkpoint_minutes=0.0)
    with pytest.raises(KeyboardInterrupt):
        train_codec(options, tmp_path, lambda p: seen.append(p.wall_s), lambda: True)
    train_codec(options, tmp_path, lambda p: seen.append(p.wall_s))
    longest = max(b - a for a, b in pairwise([0.0, *seen]))
    assert 3.0 <= seen[-1] <= 3.0 + longest
    record = json.loads((tmp_path / "codec.json").read_text())["training"]["progress"]
    assert record["step"] == record["steps"] == len(seen) > 2


def test_a_gradient_that_is_not_finite_changes_nothing(options, tmp_path, monkeypatch):
    monkeypatch.setattr(
        codec_loss, "distortion_of", lambda result, *_: (result * float("nan")).sum()
    )
    train_codec(replace(options, steps=2), tmp_path)
    record = json.loads((tmp_path / "codec.json").read_text())["training"]["progress"]
    assert record["skipped"] == 2
    fresh = CodecStage(options).codec.state_dict()
    written = load_codec(tmp_path).state_dict()
    assert all(torch.allclose(written[k], fresh[k], atol=2e-2, rtol=2e-3) for k in fresh)


def test_crops_are_a_function_of_seed_and_step(photographs, monkeypatch):
    # All of them are drawn when they are to be resident.
    monkeypatch.setattr("simulator.training.photographs.DRAWN_PICTURES", 20)
    options = {"crop": 80, "batch": 3, "seed": 1, "drawn": 0.3, "zoom": 0.5}
    source = Photographs([photographs], **options)
    streamed = list(source.stream(5, 11))
    again = Photographs([photographs], **options, cache_bytes=1)
    resident = Photographs([photographs], **options)
    resident.stay_on(torch.device("cpu"))
    assert len(streamed) == 6
    for step, crops in enumerate(streamed, start=5):
        assert crops.shape == (3, 3, 80, 80) and crops.dtype == torch.uint8
        assert torch.equal(crops, again.at(step))
        assert torch.equal(crops, resident.at(step))
    assert not torch.equal(streamed[0], streamed[1])


def test_some_batches_are_of_large_crops(photographs):
    """As many pixels in a batch; a codec learns what an image larger than a crop looks like."""
    options = {"crop": 40, "batch": 8, "seed": 1, "zoom": 0.5, "large": 0.5}
    source, resident = (Photographs([photographs], **options) for _ in range(2))
    resident.stay_on(torch.device("cpu"))
    seen = set()
    for step in range(12):
        crops = source.at(step)
        assert torch.equal(crops, resident.at(step))
        seen.add(tuple(crops.shape))
    assert seen == {(8, 3, 40, 40), (2, 3, 80, 80)}


def test_small_photographs_are_extended(photographs):
    assert Photographs([photographs], crop=200, batch=1, seed=0).at(0).shape == (1, 3, 200, 200)


def test_the_cache_is_bounded_in_bytes(tmp_path):
    """Whatever the size of the first file."""
    for index, side in enumerate((16, 400, 400, 400, 400)):
        save_png(np.full((side, side, 3), index, np.uint8), tmp_path / f"{index}.png")
    source = Photographs([tmp_path], crop=16, batch=8, seed=0, cache_bytes=1_000_000)
    for step in range(10):
        source.at(step)
    kept = [source._cache.get(index) for index in range(5)]
    held = sum(image.nbytes for image in kept if image is not None)
    assert held == source._cache._held <= 1_000_000
    assert sum(image is not None for image in kept) >= 2


def test_damaged_photographs_are_counted_and_named(photographs, tmp_path, caplog):
    """The first like any other; refused only where nothing is left."""
    whole = next(photographs.glob("*.png")).read_bytes()
    for name in ("a.png", "z.png"):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    source = Photographs([tmp_path, photographs], crop=32, batch=8, seed=0)
    with caplog.at_level("WARNING", "training"):
        for step in range(20):
            source.at(step)
    assert {path.name for path in source.refused} == {"a.png", "z.png"}
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2 and all("left out" in line for line in lines)
    assert any("a.png" in line for line in lines) and lines[1].startswith("left out, 2 of 8")
    with pytest.raises(ImageError, match="none of 2 photographs"):
        Photographs([tmp_path], crop=32, batch=8, seed=0).at(0)


def test_drawn_pictures_are_a_function_of_their_number():
    for number in range(12):
        picture = draw_picture(number, 96)
        assert picture.shape == (96, 96, 3) and picture.dtype == np.uint8
        assert (picture == draw_picture(number, 96)).all()
    flat, page = draw_picture(0, 96), draw_picture(2, 96)
    assert len(np.unique(flat.reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(page.reshape(-1, 3), axis=0)) > 20


def test_schedule():
    assert learning_rate(0, 0.0, 1e-3, 100) == pytest.approx(1e-5)
    assert learning_rate(500, 0.5, 1e-3, 100) == pytest.approx(5e-4)
    assert learning_rate(999, 0.999, 1e-3, 100) < 1e-8
    assert learning_rate(999, 1.2, 1e-3, 100) == 0


def test_train_and_export_by_the_command_line(photographs, tmp_path):
    out = tmp_path / "codec"
    (small,) = make_photographs(tmp_path / "small", 1, (32, 48))
    trained = invoke(
        "train", "codec", "--data", photographs, "--out", out, "--steps", 2, "--batch", 1,
        "--crop", 32, "--threads", 1, "--validation", small,
        "--adversarial", 0.01,
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert len(json.loads((out / "codec.json").read_text())["training"]["validation"]) == 10
    parameters = sum(each.numel() for each in load_codec(out).parameters())
    assert f"parameters that are trained: {parameters / 1e6:.3g} M" in trained.err
    exported = invoke("export", out)
    assert exported.code == 0, exported.err
    assert (out / "encoder.onnx").is_file()


def test_a_folder_of_any_name_is_told_in_the_card(options, tmp_path):
    """The card is written when the training is over: a name must not be the end of it."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    make_photographs(folder, 1, (32, 48))
    given = replace(options, data=(str(folder),), validation=(str(folder),), steps=1)
    out = train_codec(given, tmp_path / "codec")
    card = (out / "README.md").read_text(encoding="utf-8")
    assert r"| data | caf\xe9 |" in card and r"--data caf\xe9" in card
    json.loads((out / "codec.json").read_text(encoding="utf-8"))
    told = names_of_folders({"data": [str(folder)], "init": str(folder)})
    assert told == {"data": [r"caf\xe9"], "init": r"caf\xe9"}
