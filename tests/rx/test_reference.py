"""References for scores: who asked for them hears where there are none."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from helpers import cli, make_photographs
from receiver_world import WorkerBench, task

from tests.fuzz.brought.commands import invoke


def rows_of(out: Path) -> list[dict]:
    text = (out / "results.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def others(folder: Path, count: int) -> None:
    """Images that are not sent."""
    for path in make_photographs(folder, count, (64, 64)):
        path.rename(path.with_name(f"other-{path.name}"))


def test_a_reference_folder_without_a_match_is_refused_before_the_start(tmp_path: Path) -> None:
    make_photographs(tmp_path / "photos", 2)
    others(tmp_path / "references", 2)
    out = tmp_path / "run"
    result = invoke("simulate", tmp_path / "photos", "--reference", tmp_path / "references",
                    "--refine", "off", "--out", out)  # fmt: skip
    assert result.code == 3, result.err
    assert "has none of the images that are sent" in result.err
    assert "Traceback" not in result.err and result.err.count("error: ") == 1
    assert not (out / "tx.db").exists()


def test_what_a_reference_folder_lacks_is_counted(tmp_path: Path) -> None:
    first, second = make_photographs(tmp_path / "photos", 2)
    references, out = tmp_path / "references", tmp_path / "run"
    references.mkdir()
    # Compared by content: another name is no other image.
    (references / "renamed.png").write_bytes(second.read_bytes())
    result = cli("simulate", tmp_path / "photos", "--reference", references,
                 "--refine", "off", "--set", "rx.lpips=false", "--out", out)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "1 of 2 images are not in the reference folder" in result.stderr
    scored = {Path(row["image"]).name: row["psnr_preview"] for row in rows_of(out)}
    assert scored[first.name] is None and scored[second.name] is not None


def test_a_receiver_alone_says_it_once_an_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others(tmp_path / "references", 1)
    bench = WorkerBench(tmp_path / "run", reference=str(tmp_path / "references"))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            bench.worker._references.find(task().frame, (b"", b"", b"", b""))
    told = [line for line in caplog.messages if "no scores" in line]
    assert len(told) == 1 and str(tmp_path / "references") in told[0]


def test_a_transmitter_that_attaches_none_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = WorkerBench(tmp_path / "run", reference="attached")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert bench.worker._references.find(task().frame, (b"", b"", b"", b"")) is None
    told = [line for line in caplog.messages if "attaches no reference" in line]
    assert len(told) == 1


def test_nobody_is_told_what_he_did_not_ask_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = WorkerBench(tmp_path / "run", reference="none")
    with caplog.at_level(logging.WARNING):
        assert bench.worker._references.find(task().frame, (b"", b"", b"", b"")) is None
    assert "score" not in caplog.text
