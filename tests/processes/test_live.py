"""What processes say while they work: a live line, lines now and then, a line a frame."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from helpers import cli, make_photographs, start_cli

import simulator.launch
from simulator.children import free_ports
from simulator.live import LOG_PAUSE_S, TERMINAL_PAUSE_S, Live, Rate, duration, rate_text
from simulator.logs import ERASE, LiveHandler, start_logging
from simulator.settings import make_settings


@pytest.fixture(autouse=True)
def restore_loggers():
    root, own = logging.getLogger(), logging.getLogger("tx")
    before, level, own_level = list(root.handlers), root.level, own.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    own.setLevel(own_level)


def test_rate_is_that_of_the_last_minute() -> None:
    rate = Rate()
    assert rate.per_s(0, 0.0) is None
    assert rate.per_s(10, 5.0) == 2.0
    for second in range(6, 200):
        last = rate.per_s(10 + second, float(second))
    assert last == pytest.approx(1.0)
    assert Rate().per_s(5, 1.0) is None


@pytest.mark.parametrize(
    ("per_s", "told"),
    [
        (None, ""),
        (1234.5, ", 1234 frames/s"),
        (3.214, ", 3.21 frames/s"),
        (0.05, ", 20 s per frame"),
    ],
)
def test_rates_in_words(per_s: float | None, told: str) -> None:
    assert rate_text(per_s) == told


def test_durations_in_words() -> None:
    assert [duration(s) for s in (1.4, 89, 90, 5000, 20_000)] == [
        "1 s", "89 s", "2 min", "83 min", "5.6 h",
    ]  # fmt: skip


def test_elsewhere_a_line_now_and_then_and_only_news(capsys: pytest.CaptureFixture[str]) -> None:
    live = Live(start_logging("tx"), 0.0)
    assert not live.due(LOG_PAUSE_S - 1) and live.due(LOG_PAUSE_S)
    for now, text in ((30.0, "1 of 4"), (60.0, "1 of 4"), (90.0, "2 of 4")):
        live.show(text, now)
    live.close()
    said = capsys.readouterr().err.splitlines()
    assert [line.rpartition("INFO ")[2] for line in said] == ["1 of 4", "2 of 4"]


def test_on_a_terminal_it_is_rewritten_below_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveHandler, "on_terminal", True)
    monkeypatch.setenv("COLUMNS", "12")
    log = start_logging("tx")
    live = Live(log, 0.0)
    assert live.due(TERMINAL_PAUSE_S)
    live.show("1 of 4 frames, 1 under way", 1.0)
    log.warning("news")
    live.close()
    text = capsys.readouterr().err
    assert text.startswith(ERASE + "1 of 4 fram" + ERASE)
    assert re.search(r"tx WARNING news\n1 of 4 fram", text)
    assert text.endswith(ERASE)


def test_what_is_said_of_every_frame_is_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("tx").debug("one frame")
    assert capsys.readouterr().err == ""
    start_logging("tx", "json").debug("one frame")
    assert json.loads(capsys.readouterr().err)["message"] == "one frame"


def in_terminal(*arguments: object, until: str, timeout: float = 30) -> str:
    """What a command shows on a terminal until a pattern is seen."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "simulator.cli", *map(str, arguments)],
        stdin=slave, stdout=slave, stderr=slave, close_fds=True,
        env=os.environ | {"COLUMNS": "160"},
    )  # fmt: skip
    os.close(slave)
    seen, deadline = "", time.monotonic() + timeout
    try:
        while not re.search(until, seen):
            assert time.monotonic() < deadline, seen
            if select.select([master], [], [], 0.2)[0]:
                seen += os.read(master, 65536).decode()
    finally:
        process.terminate()
        process.wait(30)
        os.close(master)
    return seen


def test_tx_has_a_live_line_before_the_first_row(tmp_path: Path) -> None:
    make_photographs(tmp_path / "photos", 2, (64, 64))
    (port,) = free_ports(1)
    in_terminal("tx", tmp_path / "photos", "--out", tmp_path / "tx", "--set",
                f"tx.connect=tcp://127.0.0.1:{port}",
                until=r"0 of 2 frames, 0 under way; nobody listens at")  # fmt: skip


def test_channel_has_a_live_line() -> None:
    front, back = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    in_terminal("channel", "--set", f"channel.front={front}", "--set", f"channel.back={back}",
                until=r"0 tx, 0 rx; 0 frames passed on")  # fmt: skip


def test_rx_says_what_it_loads_and_then_what_it_does(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    seen = in_terminal("rx", "--out", tmp_path / "rx", "--set",
                       f"rx.connect=tcp://127.0.0.1:{port}",
                       until=r"0 frames done, 0 held; nobody listens")  # fmt: skip
    steps = ["loading codec adaptive-", "loading model compact", "loading the metrics",
             ", in one pass", "ready for frames"]  # fmt: skip
    assert [seen.index(step) for step in steps] == sorted(seen.index(step) for step in steps)
    assert "Logging error" not in seen


def test_json_has_a_line_a_frame_in_every_process(tmp_path: Path) -> None:
    front, back = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    make_photographs(tmp_path / "photos", 3, (64, 64))
    channel = start_cli("channel", "--log", "json", "--set", f"channel.front={front}",
                        "--set", f"channel.back={back}")  # fmt: skip
    rx = start_cli("rx", "--log", "json", "--set", "codec=null", "--reference", "none",
                   "--set", f"rx.connect={back}", "--out", tmp_path / "rx")  # fmt: skip
    tx = cli("tx", tmp_path / "photos", "--log", "json", "--set", "codec=null",
             "--set", f"tx.connect={front}", "--out", tmp_path / "tx")  # fmt: skip
    said = {"tx": tx.stderr}
    for name, process in (("rx", rx), ("channel", channel)):
        process.terminate()
        said[name] = process.communicate(timeout=30)[0]
    assert tx.returncode == 0, tx.stderr
    rows = (tmp_path / "tx" / "results.jsonl").read_text().splitlines()
    frames = {json.loads(row)["frame_id"] for row in rows}
    assert len(frames) == 3
    for name, text in said.items():
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        told = Counter(line.get("frame_id") for line in lines if line.get("frame_id"))
        assert told.keys() == frames, (name, text)
    assert "photo00.png has arrived" in said["tx"]


# simulate


def test_phases_have_names_and_counts_are_of_this_run(tmp_path: Path) -> None:
    photos = make_photographs(tmp_path / "photos", 4, (64, 64))
    quick = {"codec": "null", "rx.reference": "none", "rx.refine": False}
    options = {**quick, "run": "one", "out": str(tmp_path / "run")}

    def seen(images: list[Path]) -> list[tuple[int, int, str]]:
        found: list[tuple[int, int, str]] = []
        settings = make_settings(overrides={**options, "tx.images": list(map(str, images))})
        simulator.launch.simulate(settings, lambda *progress: found.append(progress))
        return found

    first = seen(photos)
    phases = list(dict.fromkeys(phase for *_, phase in first))
    assert phases == ["loading models", "sending", "writing the results"]
    assert first[-1][:2] == (4, 4)
    assert all(done == 0 for done, _, phase in first if phase == "loading models")
    assert all(done <= total for done, total, _ in first)


def test_nothing_is_counted_before_an_error(tmp_path: Path) -> None:
    for command in (
        ("sweep", "figure-5", "--images", tmp_path / "none", "--out", tmp_path / "a"),
        ("simulate", tmp_path / "none", "--out", tmp_path / "b"),
    ):
        seen = in_terminal(*command, until=r"error: .*does not exist")
        assert "/?" not in seen
