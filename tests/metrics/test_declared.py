"""Metrics are declared once: what is declared is whole, and rows know the same keys."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from simulator.errors import SettingsError
from simulator.link import rows
from simulator.metrics.interval import bootstrap_interval
from simulator.metrics.known import KNOWN, SCORED, frechet, metric_of, miou_of_results
from simulator.metrics.metric import SetMetric, register_set_metric, resampled


def test_every_metric_is_declared_whole_and_once():
    assert len({metric.key for metric in KNOWN}) == len({m.label for m in KNOWN}) == len(KNOWN)
    distances = ("lpips", "lpips_moved", "lpips_vgg", "dists", "fd_effnet", "fid", "flicker")
    for metric in KNOWN:
        assert metric.better == ("lower" if metric.key in distances else "higher")
        if isinstance(metric, SetMetric):
            assert metric.load is not None and metric.compare is not None
            assert metric_of(metric.features).load is metric.load
    assert metric_of("psnr").head == "PSNR, dB" and metric_of("ssim").head == "SSIM"
    with pytest.raises(SettingsError, match="no metric 'beauty'; there are psnr, ssim"):
        metric_of("beauty")


def test_rows_have_what_the_scorer_measures():
    """Rows are ground that imports nothing: their keys are spelt there, and held together here."""
    assert tuple(rows.METRICS) == SCORED == tuple(m.key for m in KNOWN if m.key in SCORED)


def test_reading_the_declarations_loads_nothing_heavy():
    code = "import sys, simulator.metrics.known; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_a_plain_value_gets_the_interval_of_resamples(own_registry):
    """The mean of all results: the bootstrap of it is that of the weighed mean."""
    rng = np.random.default_rng(0)
    sent = [np.zeros(1)] * 12
    arrived = [[np.array([x]), np.array([x + 0.1])] for x in rng.normal(size=12)]
    register_set_metric(
        "height", "height", lambda pixels, path: pixels, lambda a, b: float(np.mean(b))
    )
    compare = metric_of("height").compare
    found = compare(sent, arrived, np.random.default_rng(1))
    means = np.array([np.mean(each) for each in arrived])
    expected = bootstrap_interval(
        lambda counts: float(counts @ means / counts.sum()), 12, np.random.default_rng(1)
    )
    assert found.value == pytest.approx(expected.value)
    assert found.margin == pytest.approx(expected.margin) and found.images == 12


def test_the_quick_bootstrap_of_a_distance_is_the_plain_one():
    from simulator.metrics.frechet import frechet_of_features

    rng = np.random.default_rng(3)
    sent = [rng.normal(size=(5, 6)) for _ in range(6)]
    arrived = [[each + rng.normal(0.3, 0.2, each.shape) for _ in range(2)] for each in sent]
    plain = resampled(lambda a, b: frechet_of_features(np.concatenate(a), np.concatenate(b)))
    quick, slow = (make(sent, arrived, np.random.default_rng(5)) for make in (frechet, plain))
    assert quick.value == pytest.approx(slow.value, rel=1e-6)
    assert quick.margin == pytest.approx(slow.margin, rel=1e-4)


def test_an_image_whose_mask_judges_nothing_is_no_image_of_miou():
    judged = np.array([[4, 0], [5, 1], [5, 2]])
    nothing = np.zeros((3, 2), int)
    sent = [judged, nothing, judged]
    found = miou_of_results(sent, [[each] for each in sent], np.random.default_rng(0))
    assert found.images == 2 and found.value == pytest.approx((4 / 6 + 0) / 2)
    with pytest.raises(SettingsError, match="no mIoU"):
        miou_of_results([nothing], [[nothing]], np.random.default_rng(0))
