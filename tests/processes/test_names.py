"""File names as disks have them: long, of other bytes, with what shells and markup use."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import cli, make_photographs, refuse

from simulator.images import load_image
from simulator.link.ids import FRAME_ID_BYTES
from simulator.png import save_png
from simulator.report.records import records_of
from simulator.report.sources import read_sources
from simulator.runfolder import find_original, name_run
from simulator.settings import make_settings
from tx.at_work import MAX_DEATHS, NOTHING, AtWork
from tx.encoder import NullEncoder
from tx.service import TransmitterService
from tx.source import build_manifest
from tx.stream import Manifest

NAMES = [
    b"a" * 251,  # with .png as long as a name may be
    b"a" * 250 + b"b",
    "中".encode() * 83,
    "中文".encode("gbk"),
    b"caf\xe9",
    b"two\nlines",
    b"[bold]%s {0} 'q' \"q\"",
    b"-rf",
    "\N{COMBINING DIAERESIS}u".encode(),
]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names") / "photographs"
    made = make_photographs(folder, len(NAMES), size=(48, 64))
    for path, name in zip(made, NAMES, strict=True):
        path.rename(folder / os.fsdecode(name + b".png"))
    (folder / "other").mkdir()
    save_png(np.full((48, 64, 3), 9, np.uint8), folder / "other" / "-rf.png")
    return folder


def strict_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


@pytest.fixture
def strict_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a locale of UTF-8, where Python writes no byte that is none."""
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")


def test_a_run_of_any_names(photographs: Path, tmp_path: Path, strict_output: None) -> None:
    out = Path(os.fsdecode(os.fsencode(tmp_path) + "/图".encode("gbk")))
    done = cli("simulate", photographs, "--codec", "null", "--out", out)
    assert done.returncode == 0, done.stderr
    rows = strict_rows(out / "results.jsonl")
    assert len(rows) == len(NAMES) + 1
    assert all(row["status"] == "delivered" and row["attempts"] == 1 for row in rows)
    assert all(row["time_to_preview_s"] is not None for row in rows)
    sent = {load_image(path).pixels.tobytes() for path in photographs.rglob("*.png")}
    originals = [find_original(out, row) for row in rows]
    kept = {load_image(path).pixels.tobytes() for path in originals if path}
    assert kept == sent
    assert cli("report", out).returncode == 0
    assert cli("doctor", "--run", out).returncode == 0


def test_a_sweep_of_any_names(photographs: Path, tmp_path: Path, strict_output: None) -> None:
    out = Path(os.fsdecode(os.fsencode(tmp_path) + "/图".encode("gbk")))
    images = sorted(photographs.rglob("*.png"))
    command = ("baseline", *images, "--methods", "jpeg2000+capacity", "--cbr", "1/48", "--out", out)
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    assert len(strict_rows(out / "rows.jsonl")) == len(NAMES) + 1
    assert cli(*command).returncode == 0
    sources = read_sources([out])
    for record in records_of(sources):
        original = sources.sent_in_sweep(record.image)
        assert original is not None and original.is_relative_to(out)
    assert len({sources.sent_in_sweep(r.image) for r in records_of(sources)}) == len(NAMES) + 1


def test_a_name_that_settings_cannot_hold_is_refused_before_anything(
    photographs: Path, tmp_path: Path
) -> None:
    for name in photographs.iterdir():
        if "\udcd6" in str(name):
            done = cli("simulate", name, "--codec", "null", "--out", tmp_path / "out")
            assert done.returncode == 3 and "name the folder" in done.stderr
            assert not (tmp_path / "out").exists()


# An image that is the end of whoever works on it.


def service(folder: Path, photographs: Path) -> TransmitterService:
    given = {"tx.images": [str(photographs)], "codec": "null", "out": str(folder), "run": "r"}
    settings = name_run(make_settings(overrides=given))
    return TransmitterService(settings, folder, Manifest(build_manifest(settings)))


def end(made: TransmitterService) -> None:
    made._worker.tasks.put(None)
    made._worker.start()
    made.close()


def rows_in(made: TransmitterService) -> list[dict[str, Any]]:
    return list(made.ledger.results())


def test_a_frame_that_kills_its_process_is_refused_with_the_reason(tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    make_photographs(photographs, 3)
    made = service(tmp_path, photographs)
    fatal = next(iter(made.transmitter.jobs))
    end(made)
    for death in range(1, MAX_DEATHS + 1):
        at_work = AtWork(tmp_path)
        with pytest.raises(SystemExit), at_work.frame(fatal):
            raise SystemExit  # the process is gone before it can say so
        at_work.close()
        made = service(tmp_path, photographs)
        refused = rows_in(made)
        assert len(refused) == (death == MAX_DEATHS)
        end(made)
    assert f"tx died {MAX_DEATHS} times while it worked" in refused[0]["reason"]
    assert refused[0]["status"] == "refused" and len(made.transmitter.jobs) == 2


def test_who_ends_between_frames_has_died_at_none(tmp_path: Path) -> None:
    at_work = AtWork(tmp_path)
    assert at_work.died_at() is None
    with at_work.frame(bytes(range(FRAME_ID_BYTES))):
        assert at_work.died_at() == bytes(range(FRAME_ID_BYTES)) != NOTHING
    assert at_work.died_at() is None
    at_work.close()


def test_an_error_of_one_image_is_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simulator.phy.laws import Laws, Waveform
    from simulator.phy.state import ChannelState
    from tx.flight import Encode, Granted, Load, Refused

    def broken(self: NullEncoder, *of_the_image: Any) -> Any:
        raise RuntimeError("no such\nkernel")

    photographs = tmp_path / "photographs"
    make_photographs(photographs, 1)
    made = service(tmp_path, photographs)
    monkeypatch.setattr(NullEncoder, "encode", broken)
    (job,) = made.transmitter.jobs.values()
    pixels = np.zeros((8, 8, 3), np.uint8)
    grant = Granted(ChannelState(1.0), "0" * 16)
    worker = made._worker
    task = Encode(job, pixels, grant, Laws(Waveform()).of("awgn"), Fraction(1, 384))
    assert worker._guarded(task) == Refused(job, "RuntimeError: no such")
    assert not isinstance(worker._guarded(Load(job)), Refused)
    end(made)
