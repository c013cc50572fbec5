"""A sweep has the numbers of the link, under every setting of the air."""

from __future__ import annotations

import pytest
from helpers import make_photographs, without_graph
from link_world import linked
from sweep_world import experiment, swept
from tiny import build_tiny_model

import simulator
from simulator.air import AirSettings, MimoSettings, MultipathSettings, PacketSettings
from simulator.cli.sweep import show
from simulator.errors import SettingsError
from simulator.evaluation.experiment import make_experiment
from simulator.jscc.wrap import wrap
from simulator.settings import make_settings

pytestmark = pytest.mark.usefixtures("one_thread", "own_registry")

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
    "quantised": {"kind": "multipath", "csit": "quantised", "csit_bits": 3},
    "impaired": {
        "kind": "multipath", "csit": "average", "csir": "estimated", "multipath.pilot_spacing": 2,
        "multipath.scramble": True,
        "impairments": [
            "rapp:backoff_db=3", "cfo:hz=20", "phase-noise:linewidth_hz=5", "adc:bits=6",
            "impulsive:probability=0.001,power_db=10,length=3", "iq:gain_db=0.5,phase_deg=2",
        ],
    },
    "packets": {
        "kind": "rayleigh", "packets.size": 100, "packets.loss": 0.1, "packets.loss_bad": 0.9,
        "packets.good_to_bad": 0.1, "packets.bad_to_good": 0.4, "packets.interleaved": False,
    },
    "draws of before": {"kind": "rayleigh", "draws": 1},
    "multipath": {
        "kind": "multipath", "csit": "delayed", "block_correlation": 0.9, "multipath.taps": 5,
        "multipath.subcarriers": 32, "multipath.cyclic_prefix": 8,
    },
    "multipath power": {"kind": "multipath", "multipath.power": "water-filling"},
    "multipath estimated": {
        "kind": "multipath", "csit": "average", "csir": "estimated", "symbol_rate_hz": 5e6,
        "multipath.profile": "tdl-a", "multipath.doppler_hz": 500.0, "multipath.pilot_spacing": 6,
        "multipath.estimator": "lmmse", "multipath.delay_spread_s": 2e-7, "multipath.comb": 4,
        "multipath.within_symbol": True,
    },
    "mimo estimated": {
        "kind": "mimo", "csit": "average", "csir": "estimated", "pilots": 4,
        "mimo.scheme": "multiplexing", "mimo.detector": "mmse", "mimo.transmit": 3,
        "mimo.receive": 2, "mimo.transmit_correlation": 0.5, "mimo.receive_correlation": 0.3,
    },
    "mimo svd": {
        "kind": "mimo", "csit": "delayed", "block_correlation": 0.9, "mimo.scheme": "svd",
    },
}  # fmt: skip
REFINED = ("flat", "blocks estimated", "assumed", "multipath")  # the others end at the preview
PROCESSES = ("flat",)  # really three; the others are the services of the three in threads
#: Of the refined; the others differ in their air alone, which every figure shows.
METRICS = ["psnr", "ssim", "ms_ssim", "lpips"]


def test_every_setting_of_the_air_is_tried():
    names = {name for air in AIRS.values() for name in air}
    sections = {"multipath": MultipathSettings, "mimo": MimoSettings, "packets": PacketSettings}
    inner = {f"{name}.{key}" for name, own in sections.items() for key in own.model_fields}
    assert names | {"snr_db", *sections} >= set(AirSettings.model_fields) | inner


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.mark.parametrize("name", AIRS)
def test_a_row_equals_that_of_the_link(tmp_path, monkeypatch, tiny_model, name):
    """Codec, channel and diffusion in process and over sockets: every quality figure, as told."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace.csv").write_text("snr_db\n2\n5\n11\n")
    images = tmp_path / "images"
    refined = name in REFINED
    make_photographs(images, 2, (176, 192) if refined else (96, 128))
    model, metrics = (tiny_model, METRICS) if refined else ("compact", METRICS[:2])
    codec, runtime = "compact", "onnx"
    if name == "feedback":  # no graph of it has to be made
        inner = str(without_graph(tmp_path / "inner"))
        codec, runtime = str(wrap("feedback", inner, tmp_path / "feedback")), "torch"
    equalizer = "mmse" if name == "assumed" else "zero-forcing"
    air = {f"channel.{key}": value for key, value in AIRS[name].items()}
    settings = make_settings(
        overrides={
            "tx.images": [str(images)], "tx.repeats": 2, "out": str(tmp_path / "run"),
            "model": str(model), "codec": codec, "rx.threads": 1, "tx.threads": 1,
            "channel.snr_db": [4.0], "tx.bandwidth_ratio": "1/96", "rx.refine": refined,
            "rx.lpips": refined, "rx.equalizer": equalizer, "tx.runtime": runtime, **air,
        }
    )  # fmt: skip
    run = simulator.simulate if name in PROCESSES else linked
    there = {(row["image"], row["repeat"]): row for row in run(settings)}
    (tmp_path / "plain.toml").touch()
    given = {
        "images": [str(images)], "model": str(model), "codec": codec, "snr_db": 4.0,
        "cbr": "1/96", "metrics": metrics, "repeats": 2, "threads": 1,
        "methods": ["jscc", "diffjscc"] if refined else ["jscc"], "equalizer": equalizer,
        "runtime": runtime,
    }  # fmt: skip
    texts = [f"{key}={value}" for key, value in air.items()]
    here = swept(make_experiment(tmp_path / "plain.toml", given, texts), tmp_path / "sweep")
    assert len(here.rows) == (8 if refined else 4) and len(there) == 4
    for row in here.rows:
        other = there[row["image"], row["repeat"]]
        stage = {"jscc": "preview", "diffjscc": "refined"}[row["method"]]
        for metric in metrics:
            if metric not in here.unavailable:
                assert row[metric] == other[f"{metric}_{stage}"] is not None, metric
        for key in ("k", "pilots", "side_uses", "bandwidth_ratio", "snr_db", "h_abs2"):
            assert row[key] == other[key], key
        for key in ("received_snr_db", "papr_db", "packets_lost", "feedback_bits"):
            assert row["details"][key] == other[key], key
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
