"""Log lines, for people and for machines."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest
from helpers import make_photographs

from simulator.children import FIRST_WORDS, free_ports
from simulator.link.text import to_json
from simulator.logs import of_frame, start_logging


@pytest.fixture(autouse=True)
def restore_root():
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    log = start_logging("rx", "json")
    log.info("two\nlines of %d", 7)
    log.warning("one frame", extra=of_frame(bytes(range(16))))
    log.warning("no frame", extra=of_frame(None))
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("failed")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == [
        "two\nlines of 7",
        "one frame",
        "no frame",
        "failed",
    ]
    assert [line["level"] for line in lines] == ["info", "warning", "warning", "error"]
    assert FIRST_WORDS[1] in to_json(lines[0])  # by which a supervisor knows that a process lives
    assert all(line["process"] == "rx" and line["time"].endswith("+00:00") for line in lines)
    assert [line.get("frame_id") for line in lines] == [None, bytes(range(16)).hex(), None, None]
    assert "ValueError: why" in lines[3]["traceback"]


def test_text_lines(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("tx").warning("one frame", extra=of_frame(bytes(16)))
    assert capsys.readouterr().err.rstrip().endswith("tx WARNING one frame")


def test_a_refused_image_is_named_by_its_frame(tmp_path) -> None:
    """A process by itself, as a log collector sees it."""
    (path,) = make_photographs(tmp_path / "photographs", 1)
    path.write_bytes(path.read_bytes()[:200])
    front, _ = free_ports(2)
    command = [
        sys.executable, "-m", "simulator.cli", "tx", str(path), "--log", "json",
        "--out", str(tmp_path / "out"), "--set", "codec=null", "--set", "rx.refine=false",
        "--set", f"tx.connect=tcp://127.0.0.1:{front}", "--set", "tx.wait_receivers=0",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    refused = [line for line in lines if line["level"] == "warning"]
    assert any(path.name in line["message"] and len(line["frame_id"]) == 32 for line in refused), (
        lines
    )
