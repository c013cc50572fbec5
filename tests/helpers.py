"""Shared by tests of several parts: photographs, commands and processes, draws."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from channel.medium import Medium
from simulator.air import AirSettings
from simulator.chain import Draw
from simulator.errors import DiffJsccError
from simulator.jscc.folder import read_codec_folder
from simulator.methods.method import Point
from simulator.png import save_png

# Quality and link figures that must not depend on when, where or how often a frame was sent.
PAIRED = [
    "status",
    "image",
    "repeat",
    "height",
    "width",
    "k",
    "pilots",
    "cbr",
    "bandwidth_ratio",
    "channel",
    "snr_db",
    "h_abs2",
    "received_snr_db",
    "psnr_preview",
    "ssim_preview",
    "ms_ssim_preview",
    "lpips_preview",
]


def photograph(index: int, size: tuple[int, int] = (96, 128)) -> np.ndarray:
    """A smooth random picture, (H, W, 3) uint8: cheap to send, and every one different."""
    y, x = np.mgrid[: size[0], : size[1]] / 24.0
    waves = np.random.default_rng(index).normal(size=(3, 3, 2))
    image = np.stack(
        [sum(np.sin(a * x + b * y) for a, b in waves[channel]) for channel in range(3)], -1
    )
    return ((image / 3 + 1) * 127.5).clip(0, 255).astype(np.uint8)


def make_photographs(folder: Path, count: int, size: tuple[int, int] = (96, 128)) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(count):
        paths.append(folder / f"photo{index:02d}.png")
        save_png(photograph(index, size), paths[-1])
    return paths


def cli(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """``diffjscc ...`` to its end."""
    command = [sys.executable, "-m", "simulator.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def without_graph(target: Path) -> Path:
    """A copy of the compact codec that only torch can encode: a wrapper of it exports no graph."""
    source = read_codec_folder("compact").path
    assert source is not None
    return shutil.copytree(source, target, ignore=shutil.ignore_patterns("encoder*.onnx"))


def start_cli(*arguments: object) -> subprocess.Popen[str]:
    """``diffjscc ...`` as a shell in the foreground starts it.

    A shell's background jobs ignore SIGINT and so does what they start: tests that are one
    would interrupt in vain. It has a process group of its own, as in a terminal.
    """
    command = [sys.executable, "-m", "simulator.cli", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        process_group=0,
    )


def interrupt(run: subprocess.Popen[str]) -> None:
    """Ctrl-C in the terminal of ``start_cli``: the signal goes to the whole process group."""
    os.killpg(run.pid, signal.SIGINT)


def sentence(error: pytest.ExceptionInfo[DiffJsccError]) -> str:
    message = str(error.value)
    assert message.endswith(".") and "\n" not in message
    return message


def refuse(constant: str) -> NoReturn:
    """``parse_constant`` of a parser that takes only what JSON has."""
    raise AssertionError(f"{constant} is no JSON")


def processes_of(folder: Path, role: str) -> list[int]:
    """Process ids of one role in a supervised run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        mine = str(folder / "run.toml").encode() in words
        if entry.name.isdigit() and mine and role.encode() in words:
            found.append(int(entry.name))
    return found


def kill_one(folder: Path, role: str) -> None:
    """SIGKILL a process of that role; fails if there is none."""
    (pid, *_) = processes_of(folder, role)
    os.kill(pid, signal.SIGKILL)


def wait_for(condition, timeout: float = 60) -> None:
    """Until ``condition()`` is true; fails after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def paired(rows: Sequence[dict]) -> dict[tuple, dict]:
    """What must agree between two runs, by image, repeat and operating point."""
    keys = ("image", "repeat", "channel", "cbr", "snr_db")
    return {tuple(row[k] for k in keys): {k: row[k] for k in PAIRED} for row in rows}


class FixedGain(Medium):
    """The gain of every block is what the test says."""

    def __init__(self, settings: AirSettings, h: complex) -> None:
        super().__init__(settings)
        self.h = h

    def gains(self, draw_key: bytes, point: object, k: int) -> np.ndarray:
        return np.full(self.law(point).count(k), self.h, np.complex64)


def draw_at(point: Point, seed: int = 0, h: complex = 1, **settings: object) -> Draw:
    """A draw of its own for each seed, under a gain that is known; ``settings`` of the air."""
    air = AirSettings.model_validate({"kind": [point.channel], **settings})
    return Draw(FixedGain(air, h), hashlib.sha256(bytes([seed])).digest(), point)
