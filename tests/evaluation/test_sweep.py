"""Experiments: configurations, the link's draws in process, resuming, plugins, means and plots."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import re
import tomllib
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers import cli, make_photographs
from tiny import build_tiny_model

import simulator
from simulator.chain import Draw
from simulator.cli.sweep import show
from simulator.errors import (
    IncompleteError,
    MissingPackageError,
    SettingsError,
    StorageError,
)
from simulator.evaluation.dispatch import Shares, WorkersDied
from simulator.evaluation.engine import Done, Worker
from simulator.evaluation.experiment import SHIPPED, Experiment, find_config, make_experiment
from simulator.evaluation.jobs import Chunk, Source, chunks_of, find_sources, suppliers, undone
from simulator.evaluation.means import gains_of, lines_of
from simulator.evaluation.plots import limits
from simulator.evaluation.process_engine import automatic, process_engine
from simulator.evaluation.store import open_store
from simulator.evaluation.sweep import MakeEngine, local_engine, run_sweep
from simulator.evaluation.time_left import TimeLeft
from simulator.images import load_image
from simulator.jscc.wrap import wrap
from simulator.methods import registry
from simulator.methods.diffjscc import make_jscc
from simulator.methods.draws import Draws
from simulator.methods.method import Method, Point, Sent
from simulator.metrics import known
from simulator.metrics.interval import Estimate
from simulator.metrics.metric import METRICS
from simulator.report.html import write_report
from simulator.settings import AirSettings, make_settings
from simulator.toml import read_toml

pytestmark = pytest.mark.usefixtures("one_thread", "own_registry")
OWN_METHOD = Path(__file__).parents[2] / "configs" / "examples" / "own_method.py"

# A method that kills its process once, in the middle of a sweep.
MORTAL = """
import os, signal
import numpy as np
from pathlib import Path
from simulator.methods.method import Method, Sent
from simulator.methods.registry import register_method

class Mortal(Method):
    name = label = "mortal"

    def send(self, image, point, draw):
        flag = Path(__file__).with_name("died")
        if point.snr_db == 7 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        air = draw.transmit(np.ones(96, np.complex64))
        noise = 40 * (air.heard.payload.real.mean() - 1)
        return Sent((image * 0.5 + 60 + noise).astype("uint8"), 96)

register_method("mortal", Mortal)
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs(folder, 2, (64, 96))
    return folder


def experiment(photographs: Path, **given) -> Experiment:
    small = {"images": [str(photographs)], "metrics": ["psnr"], "methods": ["jscc"], "threads": 1}
    return Experiment.model_validate(small | given)


def swept(experiment: Experiment, out: Path, **options):
    return run_sweep(experiment, out, local_engine, **options)


def without_times(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def means_of(out: Path) -> list[dict]:
    with (out / "means.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


# -- configurations ---------------------------------------------------------------------------


def test_the_figures_of_the_paper_are_there():
    found = {path.stem: make_experiment(path) for path in SHIPPED.glob("*.toml")}
    assert set(found) == {f"figure-{n}" for n in (4, 5, 6, 8, 10, 12, 14)}
    four, six, ten = found["figure-4"], found["figure-6"], found["figure-10"]
    assert make_experiment(find_config("figure-4"), {"add": ["dct"]}).methods[-2:] == [
        "hevc+capacity", "dct"
    ]  # fmt: skip
    assert four.x == "cbr" and four.snr_db == [1, 10] and four.repeats == 5
    assert [str(p.cbr) for p in four.points[::2]] == ["1/384", "1/192", "1/96", "1/48"]
    assert six.channel.kind == ["rayleigh"] and six.cbr == ["1/192", "1/48"]
    assert len(six.points) == 10 and ten.snr_db[0] == -5
    for each in found.values():
        assert "fd_effnet" in each.metrics and "fid" in each.metrics and "jscc" in each.methods
        for spec in each.methods:  # the options of ours are known to their factories
            name, options = registry.parse_spec(spec).name, registry.parse_spec(spec).options
            if name == "diffjscc":
                assert set(options) <= set(registry.find_factory(name).__annotations__)


def test_options_narrow_and_override_a_configuration():
    path = find_config("figure-5")
    got = make_experiment(path, {"repeats": 2}, ["seed=7"], ["snr_db=1,13", "methods=diffjscc"])
    assert (got.repeats, got.seed, got.snr_db) == (2, 7, [1, 13])
    assert len(got.methods) == 4 and len(got.labels) == 4
    one = make_experiment(path, only=["methods=diffjscc:guidance_scale=50", "cbr=1/96"])
    assert one.methods == ["diffjscc:guidance_scale=50"] and one.cbr == ["1/96"]
    assert one.labels == {"diffjscc:guidance_scale=50": "DiffJSCC, λ = 50"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"only": ["snr_db=2"]}, "'2' is not one of snr_db: 1.0; 4.0"),
        ({"only": ["repeats=2"]}, "write NAME=VALUE,... of channel, cbr"),
        ({"assignments": ["cbr=7"]}, "setting cbr.0"),
        ({"assignments": ["stesp=7"]}, "no setting 'stesp'"),
        ({"overrides": {"methods": ["jscc:codec"]}}, "write NAME:KEY=VALUE"),
        ({"assignments": ["repeats"]}, "write NAME=VALUE"),
        ({"assignments": ["channel.csit=delayed"]}, "channel: csit = 'delayed' needs one h"),
        ({"assignments": ["channel.csir=guessed"]}, "setting channel.csir: Input should be"),
        ({"assignments": ["channel.snr_db=1"]}, "no setting 'channel.snr_db'"),
    ],
)
def test_a_wrong_setting_is_one_sentence(given, sentence):
    with pytest.raises(SettingsError, match=".") as caught:
        make_experiment(find_config("figure-5"), **given)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_names_are_refused(photographs, tmp_path):
    with pytest.raises(SettingsError, match="figure-4"):
        find_config("figure-7")
    with pytest.raises(SettingsError, match="no option 'stesp'; it has codec, model"):
        swept(experiment(photographs, methods=["jscc:stesp=3"]), tmp_path / "a")
    with pytest.raises(SettingsError, match="no metric 'beauty'"):
        swept(experiment(photographs, metrics=["beauty"]), tmp_path / "b")
    with pytest.raises(SettingsError, match="no channel 'pigeon'"):
        swept(experiment(photographs, channel=["pigeon"]), tmp_path / "c")
    with pytest.raises(SettingsError, match="1 of 1 methods .*diffjscc:steps=-1"):
        swept(experiment(photographs, methods=["diffjscc:steps=-1"]), tmp_path / "d")


# -- the link's own numbers -------------------------------------------------------------------


#: Each setting of the channel, some with another that it goes together with.
AIRS = {
    "flat": {"kind": "rayleigh"},
    "estimated": {"kind": "rayleigh", "csir": "estimated", "pilots": 8},
    "blocks": {"kind": "rayleigh", "coherence_time": 50, "csit": "average"},
    "blocks estimated": {
        "kind": "rician", "rician_k_db": 3.0, "coherence_time": 40, "csit": "average",
        "csir": "estimated", "pilots": 4, "block_correlation": 0.5,
    },
    "delayed": {
        "kind": "rayleigh", "csit": "delayed", "block_correlation": 0.9, "csit_delay_blocks": 2
    },
    "assumed": {"kind": "awgn", "assumed_snr_db": 1.0},
    "trace": {"kind": "rayleigh", "csit": "average", "snr_trace": "trace.csv"},
    "feedback": {
        "kind": "rayleigh", "csir": "estimated", "pilots": 8, "feedback_snr_db": 20.0,
        "side": "free",
    },
    "draws of before": {"kind": "rayleigh", "draws": 1},
}  # fmt: skip
REFINED = ("flat", "blocks estimated", "assumed")  # the others end at the preview


def test_every_setting_of_the_air_is_tried():
    tried = set().union(*AIRS.values()) | {"snr_db"}
    assert tried >= set(AirSettings.model_fields)


@pytest.mark.parametrize("name", AIRS)
def test_a_row_equals_that_of_three_processes(tmp_path, monkeypatch, name):
    """Codec, channel and diffusion in process and over sockets: every quality figure, as told."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace.csv").write_text("snr_db\n2\n5\n11\n")
    images = tmp_path / "images"
    make_photographs(images, 2, (176, 192))
    refined = name in REFINED
    model = build_tiny_model(tmp_path / "model") if refined else "compact"
    codec = "compact"
    if name == "feedback":
        codec = str(wrap("feedback", "compact", tmp_path / "feedback"))
    equalizer = "mmse" if name == "assumed" else "zero-forcing"
    air = {f"channel.{key}": value for key, value in AIRS[name].items()}
    settings = make_settings(
        overrides={
            "tx.images": [str(images)], "tx.repeats": 2, "out": str(tmp_path / "run"),
            "model": str(model), "codec": codec, "rx.threads": 1, "tx.threads": 1,
            "channel.snr_db": [4.0], "tx.bandwidth_ratio": "1/96", "rx.refine": refined,
            "rx.equalizer": equalizer, **air,
        }
    )  # fmt: skip
    there = {(row["image"], row["repeat"]): row for row in simulator.simulate(settings)}
    (tmp_path / "plain.toml").touch()
    given = {
        "images": [str(images)], "model": str(model), "codec": codec, "snr_db": 4.0,
        "cbr": "1/96", "metrics": ["psnr", "ssim", "ms_ssim", "lpips"], "repeats": 2, "threads": 1,
        "methods": ["jscc", "diffjscc"] if refined else ["jscc"], "equalizer": equalizer,
    }  # fmt: skip
    texts = [f"{key}={value}" for key, value in air.items()]
    here = swept(make_experiment(tmp_path / "plain.toml", given, texts), tmp_path / "sweep")
    assert len(here.rows) == (8 if refined else 4) and len(there) == 4
    for row in here.rows:
        other = there[row["image"], row["repeat"]]
        stage = {"jscc": "preview", "diffjscc": "refined"}[row["method"]]
        for metric in ("psnr", "ssim", "ms_ssim", "lpips"):
            if metric not in here.unavailable:
                assert row[metric] == other[f"{metric}_{stage}"] is not None, metric
        for key in ("k", "pilots", "side_uses", "bandwidth_ratio", "snr_db", "h_abs2"):
            assert row[key] == other[key], key
        assert row["details"]["received_snr_db"] == other["received_snr_db"]
        if stage == "refined":
            assert row["details"]["caption"] == other["caption"]
            assert row["details"]["steps"] == other["steps"]
    # One transmission gives both: no time of a preview's own beside.
    assert [(gain.method, gain.snrs) for gain in here.gains] == [("diffjscc", 1)] * refined


def test_baselines_meet_every_setting_of_the_air(photographs, tmp_path):
    """And the trace has a table, a figure and features of its own."""
    trace = tmp_path / "trace.csv"
    trace.write_text("snr_db\n12\n-9\n")
    plan = experiment(
        photographs, methods=["jpeg2000+ldpc", "jpeg2000+capacity"], cbr=["1/48"], repeats=2,
        metrics=["psnr", "fd_effnet"],
        channel={"kind": ["awgn"], "csir": "estimated", "pilots": 8, "snr_trace": str(trace)},
    )  # fmt: skip
    result = swept(plan, tmp_path / "out")
    # The second image meets the second SNR, in the first round as in the second.
    assert [row["outage"] for row in result.rows if "ldpc" in row["method"]] == [0, 0, 1, 1]
    assert {(row["snr_db"], row["pilots"]) for row in result.rows} == {(None, 8)}
    assert {row["bandwidth_ratio"] for row in result.rows} == {(384 + 8) / (3 * 64 * 96)}
    assert (tmp_path / "out" / "figure.png").is_file()
    show(result, tmp_path / "out")
    trace.write_text("snr_db\n12\n9\n")
    with pytest.raises(SettingsError, match=r"channel.snr_trace was \[12.0, -9.0\]"):
        swept(plan, tmp_path / "out")


def test_variants_share_networks_and_change_results(photographs, tmp_path):
    model = build_tiny_model(tmp_path / "model")
    variants = [
        "diffjscc:steps=2",
        "diffjscc:steps=3,conditions=spatial",
        "diffjscc:captions=clean",
    ]
    worker = Worker(
        experiment(photographs, model=str(model), codec="compact", methods=["jscc", *variants]),
        "cpu",
    )
    made = [worker.methods[name] for name in variants]
    assert made[0]._refiner._pipeline is made[2]._refiner._pipeline
    assert [one.label for one in made[:2]] == [
        "DiffJSCC (steps=2)", "DiffJSCC (steps=3,conditions=spatial)"
    ]  # fmt: skip
    image = load_image(next(photographs.iterdir())).pixels
    point = Point("awgn", Fraction(1, 96), 10.0)
    draw = Draw.under(AirSettings(), bytes(32), point)
    results = [one.several(image, point, draw) for one in made]
    assert all(np.array_equal(r["jscc"].pixels, results[0]["jscc"].pixels) for r in results)
    assert np.array_equal(
        worker.methods["jscc"].send(image, point, draw).pixels, results[0]["jscc"].pixels
    )
    assert not np.array_equal(results[0][variants[0]].pixels, results[1][variants[1]].pixels)
    clean = results[2][variants[2]].details["caption"]
    assert clean == made[2]._refiner.captions([image])[0] != ""
    together = made[0].together(image, [(point, draw), (point, draw)])
    for one in together:
        assert (
            np.abs(one[variants[0]].pixels.astype(int) - results[0][variants[0]].pixels).max() <= 1
        )


# -- chunks, estimates, means -----------------------------------------------------------------


def test_previews_that_come_along_are_not_sent_again(photographs):
    also = {"a": ("jscc",), "b": ("jscc",)}
    asked = suppliers(["jscc", "a", "b", "c"], also)
    assert asked == {"a": ["a", "jscc"], "b": ["b"], "c": ["c"]}
    plan = experiment(photographs, snr_db=[1, 4, 7], repeats=2)
    chunks = chunks_of(plan, find_sources(plan), asked, batch=2)
    assert len(chunks) == 2 * 2 * 3 * 2 and sum(len(c.keys) for c in chunks) == 2 * 2 * 3 * 4
    rows = dict.fromkeys(chunks[0].keys)
    assert undone(chunks, rows) == chunks[1:]
    rows.popitem()
    assert undone(chunks, rows) == chunks


def test_equal_images_are_repeats_of_one_another(photographs, tmp_path):
    data = next(photographs.iterdir()).read_bytes()
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(data)
    plan = experiment(tmp_path, repeats=2)
    chunks = chunks_of(plan, find_sources(plan), {"jscc": ["jscc"]}, 1)
    assert [chunk.repeat for chunk in chunks] == [0, 1, 2, 3]
    assert len({chunk.draw_key for chunk in chunks}) == 4


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_image_is_refused_and_the_others_are_swept(tmp_path, workers):
    """By every method alike; whatever its place, hours of work do not end with it."""
    folder = tmp_path / "in"
    paths = make_photographs(folder, 3, (64, 96))
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    out = tmp_path / "out"
    done = cli("sweep", "figure-5", "--images", folder, "--out", out, "--repeats", 1, "--workers",
               workers, "--methods", "jpeg2000+capacity", "--methods", "avif+capacity",
               "--metrics", "psnr", "--metrics", "fd_effnet", "--only", "snr_db=1,10")  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert "8 of " in done.stderr and "photo01.png cannot be decoded" in done.stderr
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 3 * 2 * 2 * 2
    for row in rows:
        refused = "photo01" in row["image"]
        assert (row["status"] == "refused") == refused == (row.get("psnr") is None)
    with (out / "means.csv").open() as file:
        for line in csv.DictReader(file):
            assert (line["images"], line["refused"]) == ("2", "1") and line["fd_effnet"]


def test_time_left_counts_each_method_by_its_own_cost():
    source = Source(0, Path("x.png"), bytes(32))
    point = Point("awgn", Fraction(1, 96), 1.0)

    def done(method: str, seconds: float) -> Done:
        return Done(Chunk(source, 0, method, (method,), (point,), bytes(32)), [], seconds)

    estimate = TimeLeft(Counter({("quick", point): 11, ("slow", point): 11}), 100.0)
    assert estimate.told(100.0) == "timing methods, 2 of 2 have not run yet"
    estimate.add(done("quick", 1.0))
    # Of the slow one nothing is known: any number would be too small.
    assert estimate.told(101.0) == "timing methods, 1 of 2 have not run yet"
    estimate.add(done("slow", 30.0))
    assert estimate.told(131.0) == "about 5 min left"
    # Two workers, or scoring beside: what passes is compared with what was measured.
    assert estimate.told(115.5) == "about 3 min left"
    assert estimate.told(162.0) == "about 10 min left"
    for _ in range(10):
        estimate.add(done("quick", 1.0))
        estimate.add(done("slow", 30.0))
    assert estimate.told(441.0) == "done"


def test_time_left_knows_that_points_cost_differently():
    """As where a source codec is fitted to a budget, or what loads once is loaded."""
    source = Source(0, Path("x.png"), bytes(32))
    cheap, dear = (Point("awgn", Fraction(1, n), 1.0) for n in (384, 48))
    left = Counter({("hevc", cheap): 11, ("hevc", dear): 11})
    estimate, now = TimeLeft(left, 0.0), 0.0
    for point, seconds in ((cheap, 1.0), (dear, 50.0)):
        chunk = Chunk(source, 0, "hevc", ("hevc",), (point,), bytes(32))
        estimate.add(Done(chunk, [], seconds))
        now += seconds
    assert estimate.told(now) == "about 8 min left"  # 10 s and 500 s
    for _ in range(10):
        estimate.add(Done(chunk, [], 50.0))
        now += 50.0
    assert estimate.told(now) == "about 10 s left"


def test_means_have_intervals_over_images_and_gains_are_means_over_snr():
    def row(method: str, snr_db: float, image: str, repeat: int, lpips: float) -> dict:
        return {
            "method": method, "label": method, "channel": "awgn", "cbr": "1/96", "snr_db": snr_db,
            "image": image, "repeat": repeat, "status": "delivered", "outage": image == "b",
            "seconds": 1.0, "lpips": lpips,
        }  # fmt: skip

    before = {1.0: (0.4, 0.6), 4.0: (0.2, 0.2)}
    rows = [
        row("jscc", snr_db, image, repeat, value + 0.1 * repeat - 0.05)
        for snr_db, values in before.items()
        for image, value in zip("ab", values, strict=True)
        for repeat in range(2)
    ]
    rows += [
        row("fine", s, i, r, 0.25 if s == 1 else 0.15) for s in before for i in "ab" for r in (0, 1)
    ]
    fd = {("jscc", ("awgn", "1/96", 1.0)): {"fd_effnet": Estimate(200.0, 12.0, 2)},
          ("fine", ("awgn", "1/96", 1.0)): {"fd_effnet": Estimate(150.0, 9.0, 2)}}  # fmt: skip
    lines = lines_of(rows, ["lpips", "fd_effnet"], fd)
    first = lines[0]
    assert (first.images, first.sent, first.outage) == (2, 4, 0.5)
    mean = first.means["lpips"]
    # Student's t of one degree of freedom: 12.706 * 0.1414 / sqrt(2).
    assert (mean.value, mean.margin) == (pytest.approx(0.5), pytest.approx(1.2706, abs=1e-4))
    assert first.means["fd_effnet"].margin == 12.0
    (gain,) = gains_of(lines, {"fine": "jscc"})
    assert gain.percent["lpips"] == pytest.approx((-50 - 25) / 2)
    assert gain.percent["fd_effnet"] == pytest.approx(-25)


def test_intervals_of_few_images_do_not_flatten_the_curves():
    wide = [Estimate(20.0, 300.0, 2), Estimate(24.0, 300.0, 2)]
    assert limits(wide, "psnr") == pytest.approx((20 - 2 - 0.4, 24 + 2 + 0.4))
    assert limits([Estimate(20.0, 0.1, 9), Estimate(24.0, 0.1, 9)], "psnr") == pytest.approx(
        (19.5, 24.5)
    )
    assert limits([Estimate(1.0, None, 1)], "lpips") == (None, None)
    assert limits([Estimate(0.0, None, 1)], "outage") == (-0.05, 1.05)


# -- a sweep, killed and continued -------------------------------------------------------------


@pytest.fixture
def mortal(tmp_path) -> Path:
    folder = tmp_path / "plugin"
    folder.mkdir()
    (folder / "mortal.py").write_text(MORTAL)
    return folder / "mortal.py"


def write_config(path: Path, photographs: Path, plugin: Path) -> Path:
    path.write_text(
        f'images = ["{photographs}"]\nplugins = ["{plugin}"]\nmethods = ["jscc", "mortal"]\n'
        'metrics = ["psnr", "fd_effnet"]\nsnr_db = [1, 7, 13]\ncbr = "1/96"\nthreads = 1\n'
    )
    return path


def test_killed_and_gone_on_with_gives_the_numbers_of_an_undisturbed_one(
    photographs, mortal, tmp_path
):
    config = write_config(tmp_path / "small.toml", photographs, mortal)
    out = tmp_path / "killed"
    assert cli("sweep", config, "--out", out).returncode == -9
    before = rows_of(out)
    assert 0 < len(before) < 12 and not (out / "means.csv").exists()
    with (out / "rows.jsonl").open("a") as file:  # a line that was being written
        file.write('{"method": "mortal", "channel": "aw')
    again = cli("sweep", config, "--out", out)
    assert again.returncode == 0, again.stderr
    assert "DeepJSCC" in again.stdout and "FD-EffNet" in again.stdout
    assert rows_of(out)[: len(before)] == before
    whole = tmp_path / "whole"
    undisturbed = swept(make_experiment(config), whole)
    assert len(undisturbed.rows) == 12
    by_key = {json.dumps(row, sort_keys=True) for row in without_times(rows_of(out))}
    assert by_key == {json.dumps(row, sort_keys=True) for row in without_times(undisturbed.rows)}
    assert means_of(out) == means_of(whole)
    # Nothing is left to do, and other settings are refused.
    lines = (out / "rows.jsonl").read_bytes()
    swept(make_experiment(config), out)
    assert (out / "rows.jsonl").read_bytes() == lines
    with pytest.raises(SettingsError, match=r"other settings \(repeats was 1 and is 2\)"):
        swept(make_experiment(config, {"repeats": 2}), out)


def test_a_sweep_of_before_draws_had_versions_goes_on_with_the_first(photographs, tmp_path):
    """Its folder says nothing of them. New ones have the newest, and other noise."""
    old, new = tmp_path / "old", tmp_path / "new"
    before = swept(experiment(photographs, channel={"kind": "rayleigh", "draws": 1}), old)
    assert "channel.draws" not in read_toml(old / "sweep.toml")["decides"]
    text = (old / "rows.jsonl").read_text()
    (old / "rows.jsonl").write_text(text.splitlines(keepends=True)[0])
    after = swept(experiment(photographs, channel=["rayleigh"]), old)
    assert without_times(after.rows) == without_times(before.rows)

    newest = swept(experiment(photographs, channel=["rayleigh"]), new)
    assert read_toml(new / "sweep.toml")["decides"]["channel.draws"] == 2
    assert read_toml(new / "sweep.toml")["settings"]["channel"]["draws"] == 2
    assert all(a["h_abs2"] != b["h_abs2"] for a, b in zip(newest.rows, after.rows, strict=True))
    with pytest.raises(SettingsError, match="channel.draws was 2"):
        swept(experiment(photographs, channel={"kind": "rayleigh", "draws": 1}), new)
    path = new / "sweep.toml"
    path.write_text(path.read_text().replace('"channel.draws" = 2', '"channel.draws" = 3'))
    with pytest.raises(SettingsError, match=r"channel.draws: Input should be 1 or 2 \(given: 3\)"):
        swept(experiment(photographs, channel=["rayleigh"]), new)


def test_a_folder_is_one_sweeps_at_a_time(tmp_path):
    with (
        open_store(tmp_path / "a", {}, {}),
        pytest.raises(StorageError, match="another sweep"),
        open_store(tmp_path / "a", {}, {}),
    ):
        pytest.fail("two at once")
    (tmp_path / "a" / "rows.jsonl").write_text("nonsense\n")
    with (
        pytest.raises(StorageError, match="line 1 of .* is damaged"),
        open_store(tmp_path / "a", {}, {}),
    ):
        pytest.fail("damaged")


# -- methods of one's own ---------------------------------------------------------------------


def test_the_example_appears_in_every_figure(photographs, tmp_path):
    plan = experiment(
        photographs, plugins=[str(OWN_METHOD)], methods=["dct", "jscc"], snr_db=[1, 13],
        channel=["awgn", "bursts"], cbr=["1/96"], metrics=["psnr", "edges"], pictures=1,
    )  # fmt: skip
    result = swept(plan, tmp_path / "out")
    assert len(result.rows) == 2 * 2 * 2 * 2
    at = {(line.method, line.channel, line.snr_db): line for line in result.lines}
    for channel in plan.channel.kind:
        assert (
            at["dct", channel, 13].means["psnr"].value > at["dct", channel, 1].means["psnr"].value
        )
    assert at["dct", "awgn", 1].means["psnr"].value != at["dct", "bursts", 1].means["psnr"].value
    assert all(line.means["edges"].value > 0 for line in result.lines)
    assert (tmp_path / "out" / "figure.png").stat().st_size > 10_000
    drawn = (tmp_path / "out" / "figure.svg").read_text()
    assert "DCT" in drawn and "DeepJSCC" in drawn and "edge error" in drawn
    assert len(list((tmp_path / "out" / "images").glob("*/*.png"))) == 1 + 2 * 2 * 2
    tree = tomllib.loads((tmp_path / "out" / "sweep.toml").read_text())
    assert tree["provenance"]["weights_sha256"] and tree["provenance"]["versions"]["numpy"]
    assert {row["file"] for row in result.rows if "file" in row} <= {
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")
    }


def test_every_metric_reaches_means_and_report(photographs, tmp_path, monkeypatch):
    """Intervals of sets, too; the report is made where the plugin is not."""
    plan = experiment(
        photographs, plugins=[str(OWN_METHOD)], methods=["dct"], snr_db=[1, 13], cbr=["1/96"],
        metrics=["psnr", "ssim", "edges", "fd_effnet"],
    )  # fmt: skip
    out = tmp_path / "out"
    result = swept(plan, out)
    for line in result.lines:
        distance = line.means["fd_effnet"]
        assert distance.margin > 0 and distance.images == 2
    with (out / "means.csv").open() as file:
        assert all(float(row["fd_effnet_ci95"]) > 0 for row in csv.DictReader(file))
    with monkeypatch.context() as elsewhere:
        elsewhere.delitem(METRICS, "edges")
        write_report([out])
    page = (out / "report.html").read_text(encoding="utf-8")
    for label in ("PSNR, dB", "SSIM", "edge error", "FD-EffNet"):
        assert f">{label}</th>" in page and f'aria-label="{label} against SNR' in page, label
    drawn = re.findall(r"<td>([0-9.]+ ± [0-9.]+)</td>", page)
    assert f"{distance.value:.1f} ± {distance.margin:.1f}" in drawn
    # What took a while is not made again.
    monkeypatch.setattr(known, "bootstrap_interval", None)
    assert swept(plan, out).lines == result.lines


class Picky(Method):
    """Made for one ratio; everything else is lost."""

    name = label = "picky"

    def send(self, image, point, draw):
        if point.cbr != Fraction(1, 96):
            raise SettingsError("picky was made for 1/96.")
        return Sent(image // 2 * 0 + 128, 10, outage=True, details={"mcs": "none"})


def test_points_that_a_method_refuses_and_outages_are_told(photographs, tmp_path, capsys):
    registry.register_method("picky", Picky)
    plan = experiment(photographs, methods=["picky", "jscc"], cbr=["1/96", "1/48"], x="cbr")
    result = swept(plan, tmp_path)
    assert result.refused == {"picky at awgn 1/48: picky was made for 1/96.": 2}
    with pytest.raises(IncompleteError, match="2 of picky at awgn 1/48"):
        show(result, tmp_path)
    printed = capsys.readouterr().out
    assert "100%" in printed and "outage" in printed
    assert f"report: {tmp_path / 'report.html'}" in printed.splitlines()
    assert "picky" in (tmp_path / "report.html").read_text()
    assert "outage rate" in (tmp_path / "figure.svg").read_text()
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["details.mcs"] for row in rows if row["outage"] == "True"} == {"none"}


def test_methods_that_are_not_here_are_named_or_left_out(photographs, tmp_path):
    said: list[str] = []

    def absent(context: registry.Context) -> Method:
        raise MissingPackageError("absent needs a package.")

    registry.register_method("absent", absent)
    plan = experiment(photographs, methods=["absent", "jscc"], labels={"absent": "Nobody"})
    with pytest.raises(MissingPackageError, match="1 of 2 methods .*absent needs.*--skip-missing"):
        swept(plan, tmp_path / "a")
    result = swept(plan, tmp_path / "b", skip_missing=True, say=said.append)
    assert {row["method"] for row in result.rows} == {"jscc"}
    assert said == ["left out: absent: absent needs a package"]


def test_metrics_that_are_not_here_are_told_and_not_replaced(photographs, tmp_path):
    said: list[str] = []
    result = swept(experiment(photographs, metrics=["psnr", "miou"]), tmp_path, say=said.append)
    assert "mIoU needs ground truth" in result.unavailable["miou"]
    assert said == [f"mIoU is unavailable: {result.unavailable['miou']}"]
    assert all("miou" not in row for row in result.rows)
    with (tmp_path / "means.csv").open() as file:
        assert "miou" not in next(csv.reader(file))


def test_a_plugin_that_fails_says_so(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("1 / 0\n")
    with pytest.raises(SettingsError, match=r"bad\.py fails: ZeroDivisionError"):
        registry.load_plugin(path)
    with pytest.raises(SettingsError, match="is no Python file"):
        registry.load_plugin(tmp_path / "none.py")


def test_a_channel_of_ones_own_gives_what_it_should():
    registry.register_channel("short", noise=lambda snr_db, generator, n: np.zeros(3))
    point = Point("short", Fraction(1, 96), 1.0)
    with pytest.raises(SettingsError, match="'short' must give 24 finite noise values"):
        Draws(AirSettings(kind=["short"])).of(bytes(32), point).transmit(np.ones(24, np.complex64))
    registry.register_channel("half", gain=lambda snr_db, generator: generator.random())
    estimated = {"csir": "estimated", "pilots": 4, "coherence_time": 16, "csit": "average"}
    draw = Draws(AirSettings(kind=["half"], **estimated)).of(
        bytes(32), Point("half", Fraction(1, 96), 60.0)
    )
    air = draw.transmit(np.ones(24, np.complex64))
    assert air.pilots == 8 and len(set(air.h)) == 2  # a gain of its own for each block
    np.testing.assert_allclose(air.heard.h, np.repeat(air.h, 12), atol=1e-2)
    with pytest.raises(SettingsError, match="no delayed CSIT"):
        Draws(AirSettings(kind=["half"], csit="delayed", block_correlation=0.5))


def test_a_method_of_the_models_codec_is_made_once():
    context = registry.Context()
    ratio = Fraction(1, 96)
    assert make_jscc(context)._link_at(ratio) is make_jscc(context)._link_at(ratio)


# -- several workers --------------------------------------------------------------------------


@pytest.fixture(params=["processes", pytest.param("ray", marks=pytest.mark.ray)])
def two_workers(request) -> MakeEngine:
    if request.param == "processes":
        return process_engine(2)
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    from simulator.evaluation.ray_engine import ray_engine

    return ray_engine(2)


def test_two_workers_one_of_which_dies_give_the_local_numbers(
    photographs, mortal, tmp_path, two_workers
):
    config = write_config(tmp_path / "small.toml", photographs, mortal)
    plan = make_experiment(config)
    result = run_sweep(plan, tmp_path / "two", two_workers)
    assert (mortal.parent / "died").exists()  # a worker was killed, and only once
    local = swept(plan, tmp_path / "local")
    assert without_times(result.rows) == without_times(local.rows)
    assert means_of(tmp_path / "two") == means_of(tmp_path / "local")


def test_a_chunk_that_ends_every_worker_is_given_up(photographs, mortal, tmp_path):
    mortal.write_text(MORTAL.replace("and not flag.exists()", ""))
    plan = make_experiment(write_config(tmp_path / "small.toml", photographs, mortal))
    with pytest.raises(WorkersDied, match=r"3 workers died of mortal with .* \(ended by SIGKILL\)"):
        run_sweep(plan, tmp_path / "out", process_engine(2))
    assert multiprocessing.active_children() == []
    assert rows_of(tmp_path / "out")  # what was done is kept


def test_what_is_wrong_with_a_worker_is_told_as_here(photographs, tmp_path):
    plan = experiment(photographs, methods=["jscc", "none"])
    with pytest.raises(SettingsError) as here:
        swept(plan, tmp_path / "out")
    with pytest.raises(SettingsError) as there:
        run_sweep(plan, tmp_path / "out", process_engine(2))
    assert str(there.value) == str(here.value)
    assert multiprocessing.active_children() == []


def test_an_interrupted_sweep_leaves_no_worker(photographs, tmp_path):
    def stop(done: int, total: int, left: str) -> None:
        if done:
            raise KeyboardInterrupt

    plan = experiment(photographs, snr_db=[1, 4, 7, 10])
    with pytest.raises(KeyboardInterrupt):
        run_sweep(plan, tmp_path / "out", process_engine(2), on_progress=stop)
    assert multiprocessing.active_children() == []


def test_short_sweeps_and_accelerators_need_no_processes(photographs, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    long = experiment(photographs, snr_db=[1, 4, 7, 10], repeats=3, threads=0)
    assert automatic(long, "cpu", images=2) == 8
    assert automatic(long.model_copy(update={"threads": 4}), "cpu", images=2) == 2
    assert automatic(long, "cuda", images=2) == automatic(long, "cpu", images=1) == 1


def chunks_for(images: int, per_image: int) -> list[Chunk]:
    sources = [Source(index, Path(f"{index}.png"), bytes([index])) for index in range(images)]
    point = Point("awgn", Fraction(1, 96), 1.0)
    return [
        Chunk(source, 0, f"{n}", (f"{n}",), (point,), b"")
        for source in sources
        for n in range(per_image)
    ]


def test_images_stay_with_a_worker_until_it_has_none():
    shares = Shares(chunks_for(3, 3))
    taken = [shares.next_for(worker) for worker in (0, 1, 0, 1, 0, 0, 1, 1, 0)]
    places = [(chunk.source.index, int(chunk.method)) for chunk in taken]
    # Worker 0 goes on to the third image; worker 1, which has none, takes the last of it.
    assert places == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (2, 0), (1, 2), (2, 2), (2, 1)]
    assert not shares
    shares.put_back(taken[0])
    assert shares.next_for(1) == taken[0]
