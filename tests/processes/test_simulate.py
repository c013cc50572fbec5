"""The main job: three real processes over real sockets."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers import (
    cli,
    kill_one,
    make_photographs,
    paired,
    processes_of,
    start_cli,
    wait_for,
)
from link_world import linked

import simulator
from rx.chain import make_decoder
from simulator.chain import Draw, Link
from simulator.images import load_image
from simulator.jscc.folder import read_codec_folder
from simulator.launch import stored_frames
from simulator.link.ids import draw_key
from simulator.link.messages import WirePoint
from simulator.link.rows import ROW_KEYS
from simulator.metrics.fidelity import psnr
from simulator.settings import make_settings
from simulator.tensors import as_tensor
from tx.encoder import make_encoder

# Without refinement no model is looked for.
QUICK = {"rx.lpips": False, "rx.refine": False, "model": "no/model", "codec": "compact"}


def simulate(out: Path, images: Path, run=simulator.simulate, **options):
    given = {"tx.images": [str(images)], "out": str(out), "run": "test", **QUICK}
    return run(make_settings(overrides=given | options))


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs(folder, 24)
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, photographs) -> Path:
    """24 images, Rayleigh, one receiver."""
    out = tmp_path_factory.mktemp("undisturbed")
    simulate(out, photographs, **{"channel.kind": "rayleigh", "channel.snr_db": 4.0})
    return out


def test_run_folder_is_whole(undisturbed):
    rows = rows_of(undisturbed)
    assert len(rows) == 24
    assert all(tuple(row) == ROW_KEYS for row in rows)
    assert all(row["status"] == "delivered" and row["psnr_preview"] > 5 for row in rows)
    with (undisturbed / "results.csv").open() as file:
        assert [row["frame_id"] for row in csv.DictReader(file)] == [r["frame_id"] for r in rows]
    summary = json.loads((undisturbed / "summary.json").read_text())
    assert summary["status"] == {"delivered": 24}
    events = json.loads((undisturbed / "trace.json").read_text())["traceEvents"]
    assert {event["pid"] for event in events} == {"tx", "channel", "rx"}
    for row in rows:
        times = [row[k] for k in ("load_s", "encode_s", "wire_s", "decode_s")]
        assert all(value >= 0 for value in times) and sum(times) < row["time_to_preview_s"] + 1e-3
        assert (undisturbed / row["preview_file"]).is_file()
        refined = [key for key in row if "refined" in key]
        for key in (*refined, "model", "caption", "solver", "steps", "diffusion_s", "vae_s"):
            assert row[key] is None, key
    assert (undisturbed / "run.toml").is_file()
    assert len(list((undisturbed / "images" / "original").iterdir())) == 24


def test_received_snr_varies_under_block_fading(undisturbed):
    received = [row["received_snr_db"] for row in rows_of(undisturbed)]
    assert np.std(received) > 2


def test_equals_one_pass_in_process(undisturbed, photographs):
    """The same chain without processes: the very pixels, and PSNR to 1e-3 dB."""
    settings = make_settings(overrides=QUICK)
    encoder = make_encoder(settings.tx, read_codec_folder("compact"))
    link = Link(encoder, make_decoder("compact", "cpu"))
    point = WirePoint(channel="rayleigh", snr_db=4.0, bandwidth_ratio="1/384")
    for row in rows_of(undisturbed)[:4]:
        picture = load_image(Path(row["image"]))
        draw = Draw.under(settings.channel, draw_key(0, picture.sha256, 0), point)
        got = link.send(picture.pixels, Fraction(1, 384), draw)
        there = load_image(undisturbed / row["preview_file"]).pixels
        assert np.abs(there.astype(int) - got.pixels).max() <= 1  # of another thread count
        figure = psnr(as_tensor(got.pixels), as_tensor(picture.pixels))
        assert figure == pytest.approx(row["psnr_preview"], abs=1e-3)
        assert np.abs(got.equalised - got.sent).std() > 0.1


def test_same_numbers_with_two_receivers(undisturbed, photographs, tmp_path):
    options = {"channel.kind": "rayleigh", "channel.snr_db": 4.0, "receivers": 2, "tx.window": 6}
    rows = simulate(tmp_path / "run", photographs, **options)
    assert len({row["receiver"] for row in rows}) > 1
    assert paired(rows) == paired(rows_of(undisturbed))


def test_each_process_is_killed_and_the_run_interrupted_and_resumed(
    undisturbed, photographs, tmp_path
):
    """24 rows and the same numbers: the run goes on after each kill, and after Ctrl-C."""
    out = tmp_path / "run"
    run = start_cli(
        "simulate", photographs, "--out", out, "--set", "run=test", "--channel", "rayleigh",
        "--snr-db", 4, "--refine", "off", "--set", "rx.lpips=false", "--set", "rx.decode_s=0.2",
    )  # fmt: skip
    for role, frames in (("rx", 2), ("channel", 6), ("tx", 10)):
        wait_for(lambda at=frames: stored_frames(out) >= at)
        kill_one(out, role)
    wait_for(lambda: stored_frames(out) >= 14)  # after the last death, too, it has gone on
    run.send_signal(2)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 130, output
    assert "interrupted" in output and "--resume" in output
    before = stored_frames(out)
    assert 14 <= before < 24
    assert (out / "logs" / "rx.log").read_text().count("offer again") == 2  # it began twice
    again = cli("simulate", "--resume", "--out", out)
    assert again.returncode == 0, again.stderr
    assert f"24 frames, {before} already in the ledger" in (out / "logs" / "tx.log").read_text()
    rows = rows_of(out)
    assert len(rows) == len({row["frame_id"] for row in rows}) == 24
    assert paired(rows) == paired(rows_of(undisturbed))


def test_nothing_outlives_a_killed_parent(photographs, tmp_path):
    out = tmp_path / "run"
    run = start_cli(
        "simulate", photographs, "--out", out, "--codec", "null", "--reference", "none",
        "--set", "rx.decode_s=1",
    )  # fmt: skip
    wait_for(lambda: len(processes_of(out, "rx")) == 1)
    run.kill()
    run.communicate(timeout=30)
    wait_for(lambda: not any(processes_of(out, role) for role in ("tx", "channel", "rx")))


def test_sweep_over_points_with_estimated_gains_and_coherence_time(photographs, tmp_path):
    images = tmp_path / "two"
    make_photographs(images, 2)
    rows = simulate(
        tmp_path / "run",
        images,
        linked,
        **{
            "tx.bandwidth_ratio": ["1/96", "1/48"],
            "channel.kind": ["awgn", "rayleigh"],
            "channel.snr_db": [1, 13],
            "channel.csit": "average",
            "channel.csir": "estimated",
            "channel.coherence_time": 40,
            "channel.pilots": 8,
            "tx.repeats": 2,
        },
    )
    assert len(rows) == 2 * 2 * 2 * 2 * 2
    for row in rows:
        blocks = -(-row["k"] // 32)
        assert row["pilots"] == 8 * blocks
        expected = (row["k"] + row["pilots"]) / (3 * row["height"] * row["width"])
        assert row["bandwidth_ratio"] == pytest.approx(expected)
    for snr in (1, 13):
        awgn = [r for r in rows if r["channel"] == "awgn" and r["snr_db"] == snr]
        assert np.mean([r["received_snr_db"] for r in awgn]) == pytest.approx(snr, abs=0.1)
    # More SNR and more bandwidth help, on the mean over images.
    mean = {
        (ratio, snr): np.mean(
            [r["psnr_preview"] for r in rows if (r["cbr"], r["snr_db"]) == (ratio, snr)]
        )
        for ratio in ("1/96", "1/48")
        for snr in (1, 13)
    }
    assert mean["1/48", 13] > mean["1/48", 1] and mean["1/96", 13] > mean["1/96", 1]


def test_torch_and_onnx_encoders_agree_through_the_link(tmp_path):
    images = tmp_path / "images"
    make_photographs(images, 2, size=(50, 70))
    rows = {
        runtime: simulate(tmp_path / runtime, images, linked, **{"tx.runtime": runtime})
        for runtime in ("onnx", "torch")
    }
    for a, b in zip(rows["onnx"], rows["torch"], strict=True):
        assert a["psnr_preview"] == pytest.approx(b["psnr_preview"], abs=1e-3)
