"""Means have intervals, and figures and reports show both."""

from __future__ import annotations

import csv
import re

import pytest
from sweep_world import OWN_METHOD, experiment, swept

from simulator.evaluation.means import gains_of, lines_of
from simulator.evaluation.plots import compose, limits
from simulator.metrics import known
from simulator.metrics.interval import Estimate
from simulator.metrics.metric import METRICS
from simulator.report.html import write_report

pytestmark = pytest.mark.usefixtures("one_thread", "own_registry")


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


def test_published_curves_stand_beside_the_measured_ones(photographs, tmp_path):
    paper = {"label": "a paper", "source": "where", "cbr": "1/96", "x": [1, 10], "y": [20, 70.0]}
    other = paper | {"label": "another", "channel": "rayleigh"}
    asked = experiment(
        photographs, cbr=["1/96"], snr_db=[1, 10], methods=["jscc"], metrics=["psnr"],
        published=[paper, other],
    )  # fmt: skip
    made = swept(asked, tmp_path / "sweep")
    figure = compose(asked, made.lines, ["psnr"])
    (axes,) = figure.axes
    curves = [line.get_ydata().tolist() for line in axes.lines]
    assert [20, 70.0] in curves and len([c for c in curves if c == [20, 70.0]]) == 1
    assert axes.get_ylim()[1] > 70
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["DeepJSCC", "a paper"]  # the other one is of a channel that was not sent over
    assert figure.get_suptitle().endswith("a paper: where")
