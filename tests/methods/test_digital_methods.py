"""Digital systems as methods, and ``diffjscc baseline``."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import signal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from helpers import FixedGain, draw_at, make_photographs, start_cli, wait_for

from simulator.air import AirSettings
from simulator.chain import Air, Draw
from simulator.errors import SettingsError
from simulator.evaluation.experiment import checked
from simulator.evaluation.sweep import local_engine, run_sweep
from simulator.images import load_image, sample_photographs
from simulator.methods.digital import success
from simulator.methods.digital.fit import psnr_of
from simulator.methods.digital.mcs import choose_mcs
from simulator.methods.digital.methods import METHODS, make_method
from simulator.methods.digital.system import NOT_DECODED, NOT_FITTED, mean_color
from simulator.methods.method import Point, Sent
from tests.fuzz.brought.commands import invoke

SIZE = (192, 256)
K = 384  # at 1/384


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    (path,) = [p for p in sample_photographs() if p.stem == "astronaut"]
    return load_image(path).pixels[: SIZE[0], 100 : 100 + SIZE[1]].copy()


def point(snr_db: float, cbr: str = "1/384", channel: str = "awgn") -> Point:
    return Point(channel, Fraction(cbr), snr_db)


def send(
    name: str, image: np.ndarray, at: Point, seed: int = 0, h: complex = 1, **settings: Any
) -> Sent:
    return make_method(name).send(image, at, draw_at(at, seed, h, **settings))


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
    sent = send(f"{source}+ldpc", photo, point(13, "1/48"))
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
    transmit = Draw.transmit

    def watch(draw: Draw, symbols: np.ndarray) -> Air:
        seen.append((symbols, transmit(draw, symbols)))
        return seen[-1][1]

    monkeypatch.setattr(Draw, "transmit", watch)
    sent = send("hevc+ldpc", photo, point(snr_db, "1/48"), 7)
    ((symbols, air),) = seen
    assert sent.k == 8 * K and symbols.shape == (8 * K,)
    noise = np.mean(np.abs(air.received - symbols) ** 2)
    assert noise == pytest.approx(10 ** (-snr_db / 10), rel=5 / math.sqrt(8 * K))
    # 64-QAM's power has the largest deviation, 0.62 a symbol.
    assert abs(np.mean(np.abs(symbols) ** 2) - 1) < 4 * 0.62 / math.sqrt(8 * K)


def test_outages_are_honest(photo):
    """At 1/384 and 1 dB: nothing fits where shrinking is not allowed; in a fade, nothing comes."""
    fullsize = send("hevc-fullsize+ldpc", photo, point(1))
    show_outage(fullsize, photo, NOT_FITTED)
    assert fullsize.k == K and fullsize.details["bits"] == 0
    bound = send("hevc-fullsize+capacity", photo, point(1))
    show_outage(bound, photo, NOT_FITTED)
    shrunk = send("hevc+ldpc", photo, point(3, "1/96"))
    assert not shrunk.outage and shrunk.details["source_scale"] > 1
    faded = send("hevc+ldpc", photo, point(3, "1/96"), h=0.3j)
    show_outage(faded, photo, NOT_DECODED)
    assert faded.details["bits"] == shrunk.details["bits"]
    dead = send("hevc+ldpc", photo, point(3, "1/96"), h=0)
    show_outage(dead, photo, NOT_DECODED)


def test_a_gain_with_a_phase_is_undone(photo):
    method = "hevc+ldpc"
    one = send(method, photo, point(10, "1/96"))
    turned = send(method, photo, point(10, "1/96"), h=np.exp(2j))
    np.testing.assert_array_equal(one.pixels, turned.pixels)
    assert not turned.outage


def test_sending_repeats(photo):
    method = "hevc+ldpc"
    outcomes = [send(method, photo, point(0.5, "1/96"), seed) for seed in (1, 2, 3) * 2]
    for first, second in zip(outcomes[:3], outcomes[3:], strict=True):
        assert first.details == second.details
        np.testing.assert_array_equal(first.pixels, second.pixels)


def test_the_fixed_scheme_knows_the_average_snr_only(photo):
    sent = send("hevc+ldpc", photo, point(10, "1/96", "rayleigh"), h=0.2)
    assert sent.details["mcs"] == str(choose_mcs(10)) == "16-QAM 1/2"


def test_the_envelope_does_not_see_this_transmission(photo, monkeypatch):
    """Its choice is the same whatever gain and noise come, and better than the fixed one."""
    monkeypatch.setattr(success, "CODEWORDS", 48)
    envelope = "hevc+ldpc-envelope"
    for channel, cbr in (("awgn", "1/192"), ("rayleigh", "1/768")):
        at = point(10, cbr, channel)
        chosen = {
            send(envelope, photo, at, seed, h).details["mcs"]
            for seed, h in enumerate((1, 0.2, 2j, 0.01))
        }
        assert len(chosen) == 1
    at = point(10, "1/192")
    fixed = send("hevc+ldpc", photo, at)
    best = send(envelope, photo, at)
    assert not best.outage
    assert psnr_of(best.pixels, photo) > psnr_of(fixed.pixels, photo)
    over = send(envelope, photo, point(10, "1/192", "multipath"))
    assert psnr_of(over.pixels, photo) > psnr_of(fixed.pixels, photo) - 3


def test_the_adaptive_scheme_follows_the_gain(photo):
    adaptive = "jpeg2000+ldpc-adaptive"
    at = point(6, "1/96", "rayleigh")
    sent = [send(adaptive, photo, at, h=h) for h in (0.6, 1, 2j)]
    assert not any(one.outage for one in sent)
    psnrs = [psnr_of(one.pixels, photo) for one in sent]
    assert psnrs == sorted(psnrs)
    assert len({one.details["mcs"] for one in sent}) == 3


def test_capacity_bounds(photo):
    instantaneous = "hevc+capacity"
    ergodic = "hevc+capacity-ergodic"
    at = point(10, "1/96", "rayleigh")
    for h in (0.5, 1, 1.5):
        sent = send(instantaneous, photo, at, h=h)
        assert sent.details["budget_bits"] == math.floor(4 * K * math.log2(1 + 10 * h * h))
        assert sent.details["bits"] <= sent.details["budget_bits"]
    mean = {send(ergodic, photo, at, h=h).details["budget_bits"] for h in (0.5, 1, 1.5)}
    assert mean == {math.floor(4 * K * 2.9065148)}
    silent = send(instantaneous, photo, at, h=0)
    show_outage(silent, photo, NOT_FITTED)
    above = send(instantaneous, photo, point(10, "1/96"))
    for name in ("hevc+ldpc", "hevc+ldpc-envelope"):
        below = send(name, photo, point(10, "1/96"))
        assert psnr_of(above.pixels, photo) > psnr_of(below.pixels, photo)


def test_a_ratio_that_no_codec_has(photo):
    with pytest.raises(SettingsError, match="1/100"):
        send("hevc+ldpc", photo, point(1, "1/100"))


@pytest.mark.parametrize(
    "settings",
    [
        {"csir": "estimated", "pilots": 32},
        {"coherence_time": 64, "csit": "average"},
        {"coherence_time": 64, "csit": "average", "csir": "estimated", "pilots": 8},
        {"assumed_snr_db": 11.0},
    ],
    ids=str,
)
def test_every_channel_carries_bits(photo, settings):
    """Pilots, blocks and a wrong SNR: the payload arrives where the SNR leaves room."""
    at = point(13, "1/96", "rayleigh")
    sent = send("hevc+ldpc", photo, at, h=1.2 - 0.5j, **settings)
    assert not sent.outage and sent.k == 4 * K
    assert sent.details["mcs"] == str(choose_mcs(settings.get("assumed_snr_db", 13)))


def test_a_capacity_is_the_mean_over_blocks(photo):
    """Blocks of 64 symbols with gains 1 and 0 in turn: half of the capacity of the gain 1."""

    class Halves(FixedGain):
        def gains(self, draw_key, point, k):
            return np.resize(np.array([1, 0], np.complex64), self.law(point).count(k))

    at = point(10, "1/96", "rayleigh")
    air = AirSettings(kind=["rayleigh"], coherence_time=64, csit="average")
    sent = make_method("hevc+capacity").send(photo, at, Draw(Halves(air, 1), bytes(32), at))
    assert sent.details["budget_bits"] == math.floor(4 * K * math.log2(11) / 2)


@pytest.mark.parametrize(
    ("name", "settings", "word"),
    [
        ("hevc+ldpc-envelope", {"coherence_time": 64, "csit": "average"}, "coherence time"),
        ("hevc+ldpc-adaptive", {"csit": "average"}, "CSIT is the average"),
    ],
)
def test_a_scheme_that_cannot_be_chosen_is_refused(photo, name, settings, word):
    with pytest.raises(SettingsError, match=word):
        send(name, photo, point(10, "1/96", "rayleigh"), **settings)


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
    result = invoke(
        "baseline", tmp_path / "photos", "--methods", "jpeg2000+ldpc", "--cbr", "1/48",
        "--snr-db", "10", "--snr-db", "-9", "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "16-QAM 1/2" in result.out and "100%" in result.out and "0%" in result.out
    assert "awgn, 1/48" in result.out  # shared by all points: in the title
    points = [line.strip() for line in result.out.splitlines() if line.strip().endswith(" dB")]
    assert sorted(points) == ["-9 dB", "10 dB"]
    methods = invoke("baseline", "--list")
    assert "avif+capacity" in methods.out
    assert "hevc+ldpc " in methods.out


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--methods", "bpg+turbo"], 3, "bpg+turbo"),
        (["--cbr", "1/100"], 3, "1/100"),
        (["--snr-db", "1000"], 3, "snr_db"),
        (["--channel", "cable"], 3, "cable"),
        (["--repeats", "0"], 3, "repeats"),
        (["no-such-image.png"], 3, "no-such-image.png"),
        (["--methods", "jscc"], 3, "jscc"),
    ],
)
def test_mistakes_end_in_one_sentence(tmp_path, options, code, word):
    result = invoke("baseline", *options, "--out", tmp_path / "out")
    assert result.code == code, result.err
    assert word in result.err
    assert result.err.count("error: ") == 1 and "Traceback" not in result.err


def test_ctrl_c(tmp_path):
    make_photographs(tmp_path / "photos", 2)
    out = tmp_path / "out"
    running = start_cli(
        "baseline", tmp_path / "photos", "--methods", "jpeg2000+ldpc", "--repeats", "5000",
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
    sent = send("jpeg2000+ldpc", np.zeros((96, 128, 3), np.uint8), point(10, "1/48"))
    assert not common & set(sent.details)
