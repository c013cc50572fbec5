"""Results for notebooks, and the live page before there are any."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from helpers import make_photographs
from report_world import delivered, made, sweep_folder

from simulator import results
from simulator.errors import DiffJsccError, MissingPackageError
from simulator.link.rows import ROW_KEYS
from simulator.report.watch import LivePage
from simulator.runfolder import write_run_file
from simulator.settings import make_settings


def test_rows_of_a_run_and_of_a_sweep(tmp_path: Path) -> None:
    run = made(tmp_path / "run", [delivered(0), delivered(1)])
    found = results.rows(run)
    assert len(found) == 2 and tuple(found[0]) == ROW_KEYS
    sweep = sweep_folder(tmp_path / "sweep")
    assert len(results.rows(str(sweep))) == 24
    assert {row["label"] for row in results.rows(sweep)} == {"digital", "bound"}


@pytest.mark.parametrize("name", ["none", "."])
def test_a_folder_of_something_else_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(DiffJsccError):
        results.rows(tmp_path / name)


def test_without_pandas_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError, match="pip install pandas"):
        results.load(made(tmp_path / "run", [delivered(0)]))


def test_a_table_has_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    fake = types.SimpleNamespace(DataFrame=lambda rows: seen.append(rows) or "table")
    monkeypatch.setitem(sys.modules, "pandas", fake)
    run = made(tmp_path / "run", [delivered(0)])
    assert results.load(run) == "table" and seen == [results.rows(run)]


def test_pandas_itself(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    run = made(tmp_path / "run", [delivered(0, psnr_preview=20.0), delivered(1, psnr_preview=22.0)])
    frame = results.load(run)
    assert list(frame.columns) == list(ROW_KEYS)
    assert frame["psnr_preview"].mean() == 21.0


def test_watch_shows_progress_before_the_first_row(tmp_path: Path) -> None:
    photos, run = tmp_path / "photos", tmp_path / "run"
    make_photographs(photos, 3, (32, 32))
    (run / "logs").mkdir(parents=True)
    options = {"run": "one", "tx.images": [str(photos)], "channel.snr_db": [1, 10]}
    write_run_file(make_settings(overrides=options | {"out": str(run)}), run)
    log = run / "logs" / "rx.log"
    log.write_text("2026-01-01 00:00:00,000 rx INFO loading model compact\n", encoding="utf-8")
    live = LivePage([run], clock=lambda: 0.0)
    page = live.page()
    assert "0 of 6 frames have arrived" in page and "loading model compact" in page
    before = live.version()
    log.write_text("2026-01-01 00:00:01,000 rx INFO ready for frames, so far\n", encoding="utf-8")
    assert live.version() != before
    # When it has its results, they are the page.
    (run / "results.jsonl").write_text(json.dumps(delivered(0)) + "\n", encoding="utf-8")
    assert "frames have arrived" not in LivePage([run]).page()
