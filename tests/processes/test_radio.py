"""Three processes and a fourth that is the radio: images through bursts of real samples.

Really three with images over push-pull and with the fault ``gap`` over pub-sub. Everywhere else
their services in threads, as what counts is what a row says; the radio is always a process.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from burst_world import through
from helpers import make_photographs, sentence
from link_world import linked

import simulator
from simulator.chain import Draw
from simulator.children import free_ports
from simulator.errors import SettingsError
from simulator.evaluation.experiment import make_experiment
from simulator.link.messages import WirePoint
from simulator.settings import Settings, make_settings
from tests.fuzz.brought.commands import invoke

Run = Callable[[Settings], list[dict[str, Any]]]
SCRIPT = Path(__file__).parent.parent / "radio_script.py"
QUICK = {"rx.lpips": False, "rx.refine": False, "model": "no/model", "codec": "compact"}
AIR = {
    "channel.csit": "average",
    "channel.csir": "estimated",
    "channel.pilots": 32,
    "tx.bandwidth_ratio": "1/48",
    "rx.save_images": False,
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    make_photographs(folder, 8)
    return folder


def simulate(out: Path, images: Path, run: Run = linked, **options: Any) -> list[dict[str, Any]]:
    given = {"tx.images": [str(images)], "out": str(out), "run": "test", **QUICK, **AIR}
    return run(make_settings(overrides=given | options))


@contextmanager
def radio(kind: str, snr_db: float, sps: int = 4, *fault: str) -> Iterator[dict[str, Any]]:
    """The settings of a radio that is there."""
    send, receive = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    words = [kind, send, receive, str(snr_db), str(sps), "0.2", *fault]
    process = subprocess.Popen([sys.executable, str(SCRIPT), *words])
    try:
        yield {
            "channel.kind": "radio",
            "channel.snr_db": snr_db,
            "channel.radio.sockets": kind,
            "channel.radio.send": f"bind:{send}",
            "channel.radio.receive": f"connect:{receive}",
            "channel.radio.sps": sps,
        }
    finally:
        process.kill()
        process.wait()


def mean(rows: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory, photographs: Path) -> dict[int, Any]:
    """What AWGN of the same SNR, pilots and images gives."""
    rows = simulate(
        tmp_path_factory.mktemp("awgn") / "run",
        photographs,
        **{"channel.snr_db": [4, 12], "tx.repeats": 4},
    )
    return {snr: [row for row in rows if row["snr_db"] == snr] for snr in (4, 12)}


@pytest.mark.parametrize(
    ("kind", "snr_db", "sps", "run"),
    [
        ("pub-sub", 12, 4, linked),
        ("push-pull", 4, 2, simulator.simulate),
        ("push-pull", 12, 1, linked),
    ],
)
def test_images_arrive_as_over_awgn_of_that_snr(
    emulated: dict[int, Any],
    photographs: Path,
    tmp_path: Path,
    kind: str,
    snr_db: int,
    sps: int,
    run: Run,
) -> None:
    with radio(kind, snr_db, sps) as given:
        rows = simulate(tmp_path / "run", photographs, run, **given, **{"tx.repeats": 4})
    assert [row["status"] for row in rows] == ["delivered"] * 32
    assert [row["attempts"] for row in rows[1:]] == [1] * 31
    for row in rows:
        assert row["received_snr_db"] == pytest.approx(snr_db, abs=0.8)
        assert (row["channel"], row["snr_db"], row["pilots"]) == ("radio", snr_db, 32)
        uses = row["k"] + 32 + 768  # the preamble is charged
        assert row["bandwidth_ratio"] == pytest.approx(uses / (3 * row["height"] * row["width"]))
    assert mean(rows, "received_snr_db") == pytest.approx(snr_db, abs=0.25)
    expected = mean(emulated[snr_db], "psnr_preview")
    # One frame varies by 0.55 dB, so the difference of two means of 32 by 0.14 dB.
    assert mean(rows, "psnr_preview") == pytest.approx(expected, abs=0.4)


FAULTS = {
    "mute": "no samples came from the radio within 0.5 s",
    "deaf": "no preamble was found within 3 s of samples",
    "nan": "the radio has sent samples that are not finite",
    "torn": "is not complex64 samples alone",
    "gap": "samples were lost on the way",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_in_the_row_of_a_frame_that_is_dead(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    images, run = tmp_path / "images", simulator.simulate if fault == "gap" else linked
    make_photographs(images, 1)
    wait_s = 0.5 if fault == "mute" else 3.0  # on a slow machine, samples need a while to come
    with radio("pub-sub", 12, 4, fault) as given:
        rows = simulate(tmp_path / "run", images, run, **given, **{"channel.radio.wait_s": wait_s})
    assert len(rows) == 1
    for row in rows:
        assert (row["status"], row["attempts"]) == ("dead", 3)
        assert FAULTS[fault] in row["reason"]
    for log in (tmp_path / "run").glob("logs/*"):
        assert "Traceback" not in log.read_text()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_bursts_are_written_played_and_heard(photographs: Path, tmp_path: Path) -> None:
    """The two runs of SigMF, with an air between them."""
    way = {"channel.kind": "radio", "channel.radio.via": "sigmf", "channel.snr_db": 12}
    sent, heard = tmp_path / "sent", tmp_path / "heard"
    first = simulate(
        tmp_path / "a", photographs, **way, **{"channel.radio.write": f"{sent}.sigmf-meta"}
    )
    assert mean(first, "received_snr_db") == pytest.approx(12, abs=0.3)
    samples = np.fromfile(f"{sent}.sigmf-data", "<c8")
    rng = np.random.default_rng(0)
    air = through(samples, 4, 7, rng, delay=54321.9, offset=0.004, gain=0.02)
    air.tofile(f"{heard}.sigmf-data")
    meta = json.loads(Path(f"{sent}.sigmf-meta").read_text())
    assert len(meta["annotations"]) == 8
    Path(f"{heard}.sigmf-meta").write_text(json.dumps({"global": meta["global"]}))
    second = simulate(tmp_path / "b", photographs, **way, **{"channel.radio.read": str(heard)})
    assert [row["status"] for row in first + second] == ["delivered"] * 16
    assert mean(second, "received_snr_db") == pytest.approx(7, abs=0.3)
    assert mean(second, "psnr_preview") < mean(first, "psnr_preview")


def test_a_live_snr_is_that_of_the_next_frame(photographs: Path, tmp_path: Path) -> None:
    source = tmp_path / "snr.txt"
    source.write_text("3\n14.25\n")
    rows = simulate(tmp_path / "run", photographs, **{"channel.snr_source": str(source)})
    assert {row["snr_db"] for row in rows} == {None}
    assert mean(rows, "received_snr_db") == pytest.approx(14.25, abs=0.2)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"channel.csir": "perfect"}, "needs csir = 'estimated' and csit = 'average'"),
        ({"channel.csit": "perfect"}, "needs csir = 'estimated' and csit = 'average'"),
        ({"channel.kind": ["awgn", "radio"]}, "goes with no other kind"),
        ({"channel.coherence_time": 99}, "needs coherence_time = 0"),
        ({"channel.radio.max_offset_hz": 2e5}, "may be at most 100000"),
        ({"channel.radio.via": "sigmf"}, "needs one of write and read"),
        ({"channel.radio.wait_s": 5}, "less than or equal to 4"),
    ],
)
def test_settings_that_no_radio_can_have(options: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as error:
        make_settings(overrides={"channel.kind": "radio", **AIR, **options})
    assert told in sentence(error)


def test_what_computes_its_channel_refuses_a_radio(tmp_path: Path) -> None:
    config = tmp_path / "sweep.toml"
    config.write_text('channel = "radio"\n')
    with pytest.raises(SettingsError, match="a sweep computes its channel") as error:
        make_experiment(config)
    sentence(error)
    settings = make_settings(overrides={"channel.kind": "radio", **AIR}).channel
    point = WirePoint(channel="radio", snr_db=1.0, bandwidth_ratio="1/48")
    with pytest.raises(SettingsError, match="cannot be computed again"):
        Draw.under(settings, bytes(32), point)


def test_a_recording_that_is_not_there_ends_the_run_before_it_begins(
    photographs: Path, tmp_path: Path
) -> None:
    done = invoke(
        "simulate", photographs, "--out", tmp_path / "run", "--refine", "off", "--channel", "radio",
        "--set", "channel.csit=average", "--set", "channel.csir=estimated",
        "--set", "channel.radio.via=sigmf", "--set", f"channel.radio.read={tmp_path / 'none'}",
    )  # fmt: skip
    assert done.code == 3 and "none.sigmf-meta cannot be read" in done.err
    assert not (tmp_path / "run").exists()
