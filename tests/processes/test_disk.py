"""Disks that fill up or turn read-only under a running receiver or transmitter.

The disk is a small tmpfs: mounting it needs root.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import wait_for

from simulator.errors import StorageError
from simulator.launch import stored_frames
from tests.chaos.verify import Verdict, verify
from tests.chaos.world import Process, World

FRAMES = 400


def mount(*words: object) -> bool:
    command = ["mount", "-t", "tmpfs", *map(str, words)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() or not mount("-o", f"size={size}", "tmpfs", folder):
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def until(world: World, condition) -> None:
    """Tend the world until the condition holds."""

    def look() -> bool:
        world.tend()
        return condition()

    wait_for(look, timeout=90)


def the(world: World, name: str) -> Process:
    (found,) = [each for each in world.processes if each.name == name]
    return found


@pytest.mark.parametrize("role", ["rx", "tx"])
def test_a_full_disk_loses_nothing(role: str, tmp_path: Path) -> None:
    """It ends with its own exit code and a sentence; with more room the run completes."""
    disk = tmp_path / "world" / f"{role}1"
    with small_disk(disk, "300k"):
        world = World(tmp_path / "world", FRAMES, 1, 1)
        process = the(world, f"{role}1")
        try:
            world.start()
            until(world, lambda: process.meant)
            assert process.meant[0] == StorageError.exit_code
            assert "error: " in process.log.read_text()
            assert "Traceback" not in process.log.read_text()
            assert stored_frames(tmp_path / "world" / "tx1") < FRAMES
            assert mount("-o", "remount,size=50m", disk)
            until(world, lambda: world.finished)
        finally:
            world.close()
        verdict = verify(world)
    assert verdict.ended_on_purpose == len(process.meant)
    assert set(process.meant) == {StorageError.exit_code}
    assert verdict.broken.keys() == {"ended_on_purpose"}, verdict


def test_a_read_only_disk_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "world" / "rx1"
    with small_disk(disk, "50m"):
        world = World(tmp_path / "world", FRAMES, 1, 2, delay_s=0.01)
        process = the(world, "rx1")
        try:
            world.start()
            until(world, lambda: stored_frames(tmp_path / "world" / "tx1") > 40)
            read_only = False
            deadline = time.monotonic() + 30
            while not read_only and time.monotonic() < deadline:
                # Refused while a file is open for writing: the process has to be caught between.
                process.send(9)
                assert process.handle is not None
                process.handle.wait(10)
                read_only = mount("-o", "remount,ro", disk)
            assert read_only
            until(world, lambda: process.meant)
            assert "Traceback" not in process.log.read_text()
            until(world, lambda: world.finished)  # the other receiver does it
        finally:
            world.close()
        assert set(process.meant) == {StorageError.exit_code}
        assert mount("-o", "remount,rw", disk)
        verdict = verify(world)
    assert verdict == Verdict(
        frames=FRAMES, computed=verdict.computed, ended_on_purpose=len(process.meant)
    )
