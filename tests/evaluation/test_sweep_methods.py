"""Methods, channels and metrics: those of one's own, variants, and those that are missing."""

from __future__ import annotations

import csv
import tomllib
from fractions import Fraction

import numpy as np
import pytest
from helpers import without_graph
from sweep_world import OWN_METHOD, experiment, swept
from tiny import build_tiny_model

from simulator.air import AirSettings
from simulator.chain import Draw
from simulator.cli.sweep import show
from simulator.errors import IncompleteError, MissingPackageError, SettingsError
from simulator.evaluation.engine import SweepWorker
from simulator.images import load_image
from simulator.jscc.wrap import wrap
from simulator.methods import registry
from simulator.methods.diffjscc import make_jscc
from simulator.methods.draws import Draws
from simulator.methods.method import Context, Method, Point, Sent
from simulator.methods.registry import make_method
from simulator.plugins import load_plugin, register_channel

pytestmark = pytest.mark.usefixtures("one_thread", "own_registry")


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

    def absent(context: registry.Context, a: int = 0) -> Method:
        raise MissingPackageError("absent needs a package.")

    registry.register_method("absent", absent)
    methods = ["absent", "jscc", "absent:a=1"]
    plan = experiment(photographs, methods=methods, labels={"absent": "Nobody"})
    with pytest.raises(MissingPackageError, match="2 of 3 methods .*absent needs.*--skip-missing"):
        swept(plan, tmp_path / "a")
    result = swept(plan, tmp_path / "b", skip_missing=True, say=said.append)
    assert {row["method"] for row in result.rows} == {"jscc"}
    assert said == ["left out: absent, absent:a=1: absent needs a package"]


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
        load_plugin(path)
    with pytest.raises(SettingsError, match="is no Python file"):
        load_plugin(tmp_path / "none.py")


def test_a_channel_of_ones_own_gives_what_it_should():
    register_channel("short", noise=lambda snr_db, generator, n: np.zeros(3))
    point = Point("short", Fraction(1, 96), 1.0)
    with pytest.raises(
        SettingsError, match="'short' of a plugin fails: it must give 24 finite noise values"
    ):
        Draws(AirSettings(kind=["short"])).of(bytes(32), point).transmit(np.ones(24, np.complex64))
    register_channel("half", gain=lambda snr_db, generator: generator.random())
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


def test_variants_share_networks_and_change_results(photographs, tmp_path):
    model = build_tiny_model(tmp_path / "model")
    variants = [
        "diffjscc:steps=2",
        "diffjscc:steps=3,conditions=spatial",
        "diffjscc:captions=clean",
    ]
    worker = SweepWorker(
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


def test_a_legend_names_the_codec_and_where_it_lies(tmp_path):
    inner = str(without_graph(tmp_path / "inner"))  # so that none of the codec has to be made
    folder = wrap("deepjscc-q", inner, tmp_path / "codecs" / "q", points=16)
    context = Context("compact", runtime="torch")
    labels = [
        make_method(spec, context).label
        for spec in ("jscc", "jscc:codec=compact,target_psnr=28", f"jscc:codec={folder}")
    ]
    assert labels == ["DeepJSCC", "adaptive (compact) (target_psnr=28)", "deepjscc-q (codecs/q)"]
