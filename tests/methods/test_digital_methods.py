"""Digital systems as methods, and ``diffjscc baseline``."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import signal
from fractions import Fraction

import numpy as np
import pytest
from helpers import cli, make_photographs, start_cli, wait_for

from simulator.errors import SettingsError
from simulator.evaluation.experiment import checked
from simulator.evaluation.sweep import local_engine, run_sweep
from simulator.images import load_image, sample_photographs
from simulator.link.ids import draw_key
from simulator.methods.digital import success, transmission
from simulator.methods.digital.fit import psnr_of
from simulator.methods.digital.mcs import choose_mcs
from simulator.methods.digital.methods import METHODS, make_method
from simulator.methods.digital.system import NOT_DECODED, NOT_FITTED, mean_color
from simulator.methods.draws import draw_of
from simulator.methods.method import Draw, Point, Sent
from simulator.phy.streams import complex_normal

SIZE = (192, 256)
K = 384  # at 1/384


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    (path,) = [p for p in sample_photographs() if p.stem == "astronaut"]
    return load_image(path).pixels[: SIZE[0], 100 : 100 + SIZE[1]].copy()


def point(snr_db: float, cbr: str = "1/384", channel: str = "awgn") -> Point:
    return Point(channel, Fraction(cbr), snr_db)


def draw(seed: int = 0, h: complex = 1, k: int = 4096) -> Draw:
    return Draw(h, complex_normal(np.random.default_rng(seed), k), seed)


def show_outage(sent: Sent, image: np.ndarray, reason: str) -> None:
    assert sent.outage and sent.details["outage_reason"] == reason
    assert len(np.unique(sent.pixels.reshape(-1, 3), axis=0)) == 1
    np.testing.assert_array_equal(sent.pixels, mean_color(image))
    assert np.abs(sent.pixels[0, 0] - image.mean((0, 1))).max() <= 0.5


def test_names_and_labels():
    for name in METHODS:
        method = make_method(name)
        assert method.name == name
    labels = {make_method(name).label for name in METHODS}
    assert len(labels) == len(METHODS)
    assert make_method("hevc+ldpc").label == "HEVC intra (BPG class) + LDPC"
    with pytest.raises(SettingsError, match="bpg"):
        make_method("bpg")


@pytest.mark.parametrize("source", ["hevc", "jpeg2000", "avif"])
def test_what_arrives_is_what_was_coded(source, photo):
    sent = make_method(f"{source}+ldpc").send(photo, point(13, "1/48"), draw())
    assert not sent.outage and sent.k == 8 * K
    assert sent.pixels.shape == photo.shape and sent.pixels.dtype == np.uint8
    details = sent.details
    assert details["mcs"] == "16-QAM 1/2"
    assert details["budget_bits"] == 2 * 8 * K
    # A CRC, the end of the payload, and less than a byte.
    assert 0.8 * 16 * K < details["bits"] <= 16 * K - 17
    assert psnr_of(sent.pixels, photo) == details["source_psnr"]
    json.dumps(details)


@pytest.mark.parametrize("snr_db", [1.0, 4.0, 10.0, 19.0])
def test_exactly_k_uses_of_unit_mean_power(snr_db, photo, monkeypatch):
    seen = []
    original = transmission.apply_channel

    def watch(symbols, h, noise):
        seen.append((symbols, noise))
        return original(symbols, h, noise)

    monkeypatch.setattr(transmission, "apply_channel", watch)
    noise = draw(7)
    sent = make_method("hevc+ldpc").send(photo, point(snr_db, "1/48"), noise)
    ((symbols, scaled),) = seen
    assert sent.k == 8 * K and symbols.shape == (1, 8 * K)
    np.testing.assert_allclose(scaled[0], noise.noise[: 8 * K] * 10 ** (-snr_db / 20), rtol=1e-5)
    # 64-QAM's power has the largest deviation, 0.62 a symbol.
    assert abs(np.mean(np.abs(symbols) ** 2) - 1) < 4 * 0.62 / math.sqrt(8 * K)


def test_outages_are_honest(photo):
    """At 1/384 and 1 dB: nothing fits where shrinking is not allowed; in a fade, nothing comes."""
    fullsize = make_method("hevc-fullsize+ldpc").send(photo, point(1), draw())
    show_outage(fullsize, photo, NOT_FITTED)
    assert fullsize.k == K and fullsize.details["bits"] == 0
    bound = make_method("hevc-fullsize+capacity").send(photo, point(1), draw())
    show_outage(bound, photo, NOT_FITTED)
    shrunk = make_method("hevc+ldpc").send(photo, point(3, "1/96"), draw())
    assert not shrunk.outage and shrunk.details["source_scale"] > 1
    faded = make_method("hevc+ldpc").send(photo, point(3, "1/96"), draw(h=0.3j))
    show_outage(faded, photo, NOT_DECODED)
    assert faded.details["bits"] == shrunk.details["bits"]
    dead = make_method("hevc+ldpc").send(photo, point(3, "1/96"), draw(h=0))
    show_outage(dead, photo, NOT_DECODED)


def test_a_gain_with_a_phase_is_undone(photo):
    method = make_method("hevc+ldpc")
    one = method.send(photo, point(10, "1/96"), draw())
    turned = method.send(photo, point(10, "1/96"), draw(h=np.exp(2j)))
    np.testing.assert_array_equal(one.pixels, turned.pixels)
    assert not turned.outage


def test_sending_repeats(photo):
    method = make_method("hevc+ldpc")
    outcomes = [method.send(photo, point(0.5, "1/96"), draw(seed)) for seed in (1, 2, 3) * 2]
    for first, second in zip(outcomes[:3], outcomes[3:], strict=True):
        assert first.details == second.details
        np.testing.assert_array_equal(first.pixels, second.pixels)


def test_the_fixed_scheme_knows_the_average_snr_only(photo):
    sent = make_method("hevc+ldpc").send(photo, point(10, "1/96", "rayleigh"), draw(h=0.2))
    assert sent.details["mcs"] == str(choose_mcs(10)) == "16-QAM 1/2"


def test_the_envelope_does_not_see_this_transmission(photo, monkeypatch):
    """Its choice is the same whatever gain and noise come, and better than the fixed one."""
    monkeypatch.setattr(success, "CODEWORDS", 48)
    envelope = make_method("hevc+ldpc-envelope")
    for channel, cbr in (("awgn", "1/192"), ("rayleigh", "1/768")):
        at = point(10, cbr, channel)
        chosen = {
            envelope.send(photo, at, draw(seed, h)).details["mcs"]
            for seed, h in enumerate((1, 0.2, 2j, 0.01))
        }
        assert len(chosen) == 1
    at = point(10, "1/192")
    fixed = make_method("hevc+ldpc").send(photo, at, draw())
    best = envelope.send(photo, at, draw())
    assert not best.outage
    assert psnr_of(best.pixels, photo) > psnr_of(fixed.pixels, photo)
    with pytest.raises(SettingsError, match="rician"):
        envelope.send(photo, point(10, "1/192", "rician"), draw())


def test_the_adaptive_scheme_follows_the_gain(photo):
    adaptive = make_method("jpeg2000+ldpc-adaptive")
    at = point(6, "1/96", "rayleigh")
    sent = [adaptive.send(photo, at, draw(h=h)) for h in (0.6, 1, 2j)]
    assert not any(one.outage for one in sent)
    psnrs = [psnr_of(one.pixels, photo) for one in sent]
    assert psnrs == sorted(psnrs)
    assert len({one.details["mcs"] for one in sent}) == 3


def test_capacity_bounds(photo):
    instantaneous = make_method("hevc+capacity")
    ergodic = make_method("hevc+capacity-ergodic")
    at = point(10, "1/96", "rayleigh")
    for h in (0.5, 1, 1.5):
        sent = instantaneous.send(photo, at, draw(h=h))
        assert sent.details["budget_bits"] == math.floor(4 * K * math.log2(1 + 10 * h * h))
        assert sent.details["bits"] <= sent.details["budget_bits"]
    mean = {ergodic.send(photo, at, draw(h=h)).details["budget_bits"] for h in (0.5, 1, 1.5)}
    assert mean == {math.floor(4 * K * 2.9065148)}
    silent = instantaneous.send(photo, at, draw(h=0))
    show_outage(silent, photo, NOT_FITTED)
    above = instantaneous.send(photo, point(10, "1/96"), draw())
    for name in ("hevc+ldpc", "hevc+ldpc-envelope"):
        below = make_method(name).send(photo, point(10, "1/96"), draw())
        assert psnr_of(above.pixels, photo) > psnr_of(below.pixels, photo)


def test_a_ratio_that_no_codec_has(photo):
    with pytest.raises(SettingsError, match="1/100"):
        make_method("hevc+ldpc").send(photo, point(1, "1/100"), draw())


def test_draws_are_those_of_the_link():
    """The medium's own, at the same draw key."""
    from channel.medium import Medium
    from simulator.link.messages import Point as LinkPoint
    from simulator.settings import ChannelSettings

    key = draw_key(3, bytes(32), 1)
    got = draw_of(key, Point("rayleigh", Fraction(1, 384), 4.0), SIZE)
    where = LinkPoint(channel="rayleigh", snr_db=4.0, bandwidth_ratio="1/384")
    zeros = Medium(ChannelSettings()).transmit(key, where, K, np.zeros(K, np.complex64))
    np.testing.assert_allclose(zeros.symbols, got.noise[:K] * 10 ** (-4 / 20), rtol=1e-5)
    assert complex(zeros.h[0]) == got.h
    assert draw_of(key, Point("awgn", Fraction(1, 384), 4.0), SIZE).h == 1


@pytest.fixture
def experiment(tmp_path):
    make_photographs(tmp_path / "photos", 2)
    return checked(
        {
            "images": [str(tmp_path / "photos")],
            "methods": ["jpeg2000+ldpc", "jpeg2000+capacity"],
            "cbr": ["1/48"],
            "snr_db": [1, 10],
            "metrics": ["psnr", "ms_ssim"],
            "repeats": 2,
        }
    )


def lasting(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_rows_and_pictures(experiment, tmp_path):
    swept = run_sweep(experiment, tmp_path / "out", local_engine)
    assert len(swept.rows) == 2 * 2 * 2 * 2
    pictured = [row for row in swept.rows if "file" in row]
    assert len(pictured) == 2 * 2 * 2  # of the first repeat
    for row in pictured:
        original = load_image(tmp_path / "photos" / row["image"])
        picture = load_image(tmp_path / "out" / row["file"])
        assert row["psnr"] == pytest.approx(psnr_of(picture.pixels, original.pixels), abs=1e-3)
        assert row["k"] == 96 * 128 // 16
    with (tmp_path / "out" / "rows.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["psnr"] for row in table] == [str(row["psnr"]) for row in swept.rows]
    assert table[0]["details.mcs"] == swept.rows[0]["details"]["mcs"]
    again = run_sweep(experiment, tmp_path / "again", local_engine)
    assert lasting(again.rows) == lasting(swept.rows)


def test_an_interrupted_run_goes_on(experiment, tmp_path):
    whole = run_sweep(experiment, tmp_path / "whole", local_engine)

    def stop(done: int, total: int, left: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_sweep(experiment, out, local_engine, on_progress=stop)
    rows = out / "rows.jsonl"
    assert len(rows.read_text().splitlines()) == 5
    rows.write_text(rows.read_text()[:-20])  # as if it had been cut while being written
    resumed = run_sweep(experiment, out, local_engine)
    assert lasting(resumed.rows) == lasting(whole.rows)
    with pytest.raises(SettingsError, match="begun with other settings"):
        run_sweep(experiment.model_copy(update={"seed": 1}), out, local_engine)


def test_command(tmp_path):
    make_photographs(tmp_path / "photos", 1, (176, 176))
    result = cli(
        "baseline", tmp_path / "photos", "--method", "jpeg2000+ldpc", "--cbr", "1/48",
        "--snr-db", "10", "--snr-db", "-9", "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "16-QAM 1/2" in result.stdout and "100%" in result.stdout and "0%" in result.stdout
    assert "awgn, 1/48" in result.stdout  # shared by all points: in the title
    points = [line.strip() for line in result.stdout.splitlines() if line.strip().endswith(" dB")]
    assert sorted(points) == ["-9 dB", "10 dB"]
    methods = cli("baseline", "--methods")
    assert "avif+capacity" in methods.stdout
    assert "hevc+ldpc " in methods.stdout


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--method", "bpg+turbo"], 3, "bpg+turbo"),
        (["--cbr", "1/100"], 3, "1/100"),
        (["--snr-db", "1000"], 3, "snr_db"),
        (["--channel", "cable"], 3, "cable"),
        (["--repeats", "0"], 3, "repeats"),
        (["no-such-image.png"], 3, "no-such-image.png"),
        (["--method", "jscc"], 3, "jscc"),
    ],
)
def test_mistakes_end_in_one_sentence(tmp_path, options, code, word):
    result = cli("baseline", *options, "--out", tmp_path / "out")
    assert result.returncode == code, result.stderr
    assert word in result.stderr
    assert result.stderr.count("error: ") == 1 and "Traceback" not in result.stderr


def test_ctrl_c(tmp_path):
    make_photographs(tmp_path / "photos", 2)
    out = tmp_path / "out"
    running = start_cli(
        "baseline", tmp_path / "photos", "--method", "jpeg2000+ldpc", "--repeats", "5000",
        "--cbr", "1/48", "--out", out,
    )  # fmt: skip
    wait_for(lambda: (out / "rows.jsonl").exists() and (out / "rows.jsonl").stat().st_size > 0)
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=30)
    assert running.returncode == 130, output
    assert "the same command goes on" in output
    kept = (out / "rows.jsonl").read_text()
    assert kept.endswith("\n") and json.loads(kept.splitlines()[-1])["method"] == "jpeg2000+ldpc"


def test_sent_says_nothing_it_may_not():
    """Rows of methods are merged with others': details must not shadow the common columns."""
    common = {field.name for field in dataclasses.fields(Sent)}
    sent = make_method("jpeg2000+ldpc").send(
        np.zeros((96, 128, 3), np.uint8), point(10, "1/48"), draw()
    )
    assert not common & set(sent.details)
