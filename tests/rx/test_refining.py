"""The diffusion receiver in the link, also one that is killed, on tiny random models."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import kill_one, make_photographs, start_cli, wait_for
from link_world import linked

import simulator
from rx.load import load_refiner
from rx.refiner import ToRefine
from simulator.chain import Draw
from simulator.errors import ModelError, SettingsError
from simulator.images import load_image
from simulator.launch import stored_frames
from simulator.link.ids import draw_key
from simulator.link.messages import WirePoint
from simulator.receiving import RxSettings
from simulator.report.closing import finish
from simulator.settings import ChannelSettings, make_settings
from tests.fuzz.brought.commands import invoke
from tests.tiny import build_tiny_model

STEPS = 2


@pytest.fixture(scope="module")
def compact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a codec of its own in ``jscc/``."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny", "compact", codec=True)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs(folder, 4, size=(64, 96))
    return folder


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_a_killed_receiver_changes_no_image(compact: Path, photographs: Path, tmp_path: Path):
    """rx dies while it refines; each image equals one pass in this process."""
    out = tmp_path / "run"
    run = start_cli(
        "simulate", photographs, "--out", out, "--model", compact, "--codec", "compact",
        "--snr-db", 4, "--channel", "rayleigh", "--set", f"rx.steps={STEPS}",
        "--set", "rx.lpips=false", "--set", "rx.threads=1", "--set", "rx.decode_s=0.4",
    )  # fmt: skip
    wait_for(lambda: stored_frames(out) >= 1)
    kill_one(out, "rx")
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    assert (out / "logs" / "rx.log").read_text().count("offer again") == 2  # it began twice
    rows = rows_of(out)
    assert len(rows) == len({row["frame_id"] for row in rows}) == 4
    assert "[provenance]" in (out / "run.toml").read_text()
    torch.set_num_threads(1)
    refiner = load_refiner(str(compact), "cpu", RxSettings(steps=STEPS))
    for row in rows:
        preview = load_image(out / row["preview_file"]).pixels
        refined = load_image(out / row["refined_file"]).pixels
        assert refined.shape == preview.shape == (64, 96, 3)
        assert (row["model"], row["steps"], row["solver"]) == (refiner.model, STEPS, "dpm++")
        assert row["guidance_scale"] == 0 and row["notes"] == ""
        assert row["psnr_refined"] > 0 and row["ssim_refined"] is not None
        for name in ("caption_s", "text_s", "diffusion_s", "vae_s"):
            assert row[name] > 0, name
        job = ToRefine(
            preview, 4.0, gain_of(row), draw_key(0, load_image(Path(row["image"])).sha256, 0)
        )
        (expected,) = refiner.refine([job], lambda *_: None)
        assert row["caption"] == expected.caption != ""
        assert np.abs(refined.astype(int) - expected.pixels).max() <= 1
    assert (out / "sheet.png").is_file()
    assert "PSNR refined" in (out / "table.md").read_text()


def gain_of(row: dict) -> complex:
    """The gain that the channel drew, told to both ends."""
    point = WirePoint(channel="rayleigh", snr_db=4.0, bandwidth_ratio=row["cbr"])
    key = draw_key(0, load_image(Path(row["image"])).sha256, 0)
    return Draw.under(ChannelSettings(), key, point).csit(row["k"]).gain


def test_stable_diffusion_and_blip2_in_small_with_frames_that_queue(
    photographs: Path, tmp_path: Path
):
    """A folder in SD 2.1's shape with a BLIP-2 in the hub's layout; frames come in a batch."""
    model = build_tiny_model(tmp_path / "sd21", "sd21")
    options = {
        "tx.images": [str(photographs)], "tx.window": 4, "out": str(tmp_path / "run"),
        "model": str(model), "codec": "compact", "rx.lpips": False, "rx.steps": STEPS,
        "rx.decode_s": 0.05,
    }  # fmt: skip
    rows = linked(make_settings(overrides=options))
    assert [row["status"] for row in rows] == ["delivered"] * 4
    for row in rows:
        assert row["model"].startswith("sd21-") and row["solver"] == "ddpm"
        assert row["time_to_preview_s"] < row["time_to_refined_s"]
        assert (tmp_path / "run" / row["refined_file"]).is_file()
    # Frames of one batch carry its seconds; previews of all waiting ones came before its end.
    together = {row["diffusion_s"] for row in rows}
    assert len(together) < 4
    previews = [row["tx_at_s"] + row["time_to_preview_s"] for row in rows]
    refined = [row["tx_at_s"] + row["time_to_refined_s"] for row in rows]
    assert sorted(previews)[1] < min(refined)


def test_models_that_cannot_refine_are_named_before_anything_starts(
    compact: Path, photographs: Path, tmp_path: Path
):
    def refused(**given: str) -> str:
        options = {"tx.images": [str(photographs)], "out": str(tmp_path / "run"), **given}
        with pytest.raises(ModelError) as caught:
            simulator.simulate(make_settings(overrides=options))
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    assert "no-such-model" in refused(model=str(tmp_path / "no-such-model"), codec="compact")
    bare = tmp_path / "bare"
    shutil.copytree(compact, bare)
    shutil.rmtree(bare / "jscc")
    assert "has no jscc/" in refused(model=str(bare))
    shutil.rmtree(bare / "vae")
    assert "it has no vae" in refused(model=str(bare), codec="compact")


@pytest.mark.parametrize(("given", "word"), [({"solver": "magic"}, "magic")])
def test_settings_that_a_model_refuses(compact: Path, given: dict, word: str):
    with pytest.raises(SettingsError, match=word):
        load_refiner(str(compact), "cpu", RxSettings.model_validate(given))


def test_captions_from_a_file_belong_to_the_image(compact: Path, tmp_path: Path):
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"photo00": "a boat", "photo01.png": "a hut"}))
    settings = RxSettings(steps=STEPS, captioner=f"given:{captions}")
    refiner = load_refiner(str(compact), "cpu", settings)
    grey = np.full((16, 24, 3), 99, np.uint8)
    jobs = [ToRefine(grey, 10.0, 1, bytes(32), f"photo0{i}") for i in range(2)]
    results = refiner.refine(jobs, lambda *_: None)
    assert [result.caption for result in results] == ["a boat", "a hut"]


def test_a_batch_agrees_with_one_by_one_and_tiles_are_taken_when_memory_is_short(
    compact: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    refiner = load_refiner(str(compact), "cpu", RxSettings(steps=STEPS, captioner="none"))
    rng = np.random.default_rng(0)
    jobs = [
        ToRefine(rng.integers(0, 256, (264, 24, 3), dtype=np.uint8), 3.0 * i, 1j, bytes([i]) * 32)
        for i in range(3)
    ]
    together = refiner.refine(jobs, lambda *_: None)
    alone = [refiner.refine([job], lambda *_: None)[0] for job in jobs]
    for a, b in zip(together, alone, strict=True):
        assert np.abs(a.pixels.astype(int) - b.pixels).max() <= 1
    unet = refiner._pipeline.unet
    forward = unet.forward

    def short_of_memory(sample: torch.Tensor, *args: object, **given: object) -> object:
        if sample.shape[0] > 1 or sample.shape[-2] > 32:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(sample, *args, **given)

    monkeypatch.setattr(unet, "forward", short_of_memory)
    with caplog.at_level(logging.WARNING):
        results = refiner.refine(jobs, lambda *_: None)
    assert [record.message for record in caplog.records] == [
        "24x264: out of memory: refined 1 at a time",
        "24x264: out of memory: refined in tiles of 256 px",
    ]
    assert {result.notes for result in results} == {"out of memory: refined in tiles of 256 px"}
    assert all(result.pixels.shape == (264, 24, 3) for result in results)


def test_given_captions_of_images_with_one_name(compact: Path, tmp_path: Path) -> None:
    """From the file of captions over the link to the row, and again in the evaluation."""
    for folder, source in zip("ab", make_photographs(tmp_path / "made", 2, (64, 64)), strict=True):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        source.rename(tmp_path / "photos" / folder / "img.png")
    captions, out = tmp_path / "captions.json", tmp_path / "run"
    captions.write_text(json.dumps({"a/img.png": "a dog", "b/img.png": "a cat"}))
    options = {
        "tx.images": [str(tmp_path / "photos")], "out": str(out), "model": str(compact),
        "tx.runtime": "torch", "rx.steps": 1, "rx.captioner": f"given:{captions}",
    }  # fmt: skip
    rows = linked(make_settings(overrides=options))
    assert [row["caption"] for row in rows] == ["a dog", "a cat"]
    assert all(row["preview_file"].startswith("images/img_") for row in rows)
    finish(out, {})
    result = invoke("evaluate", out, "--no-fid", "--captions", f"given:{captions}")
    assert result.code == 0, result.err
    (line,) = [
        line
        for line in json.loads((out / "evaluation.json").read_text())
        if line["stage"] == "refined"
    ]
    assert line["caption_f1"] == 1
