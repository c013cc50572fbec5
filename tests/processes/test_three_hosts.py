"""tx, channel and rx on three hosts: links that are slow and lose packets, keys, and rx behind a
router that translates addresses."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import cli, make_photographs, wait_for
from three_hosts import Hosts, Unavailable, three_hosts

from simulator.doctor.run import examine_run

FRAMES, DELAY_S, LOSS = 20, 0.04, 0.05


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    try:
        with three_hosts(DELAY_S, LOSS) as made:
            yield made
    except Unavailable as error:
        pytest.skip(f"no network namespaces here: {error}")


def make_keys(folder: Path) -> None:
    """As docs/three-machines.md says, without the way of the .pub files."""
    server = folder / "channel" / "channel.pub"
    commands = [
        ("init", "channel", folder / "channel"),
        ("init", "tx", folder / "board-1", "--server", server),
        ("init", "rx", folder / "gpu-1", "--server", server),
        ("add", folder / "channel", "tx", folder / "board-1" / "board-1.pub"),
        ("add", folder / "channel", "rx", folder / "gpu-1" / "gpu-1.pub"),
    ]
    for words in commands:
        made = cli("keys", *words)
        assert made.returncode == 0, made.stderr


@contextmanager
def started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()


def test_frames_arrive_over_slow_links_that_lose_packets(tmp_path: Path, hosts: Hosts) -> None:
    make_photographs(tmp_path / "in", FRAMES, (48, 64))
    make_keys(tmp_path / "keys")
    tx_log = tmp_path / "tx.log"
    channel = hosts.cli(
        "channel", "channel", "--set", f"channel.keys={tmp_path / 'keys' / 'channel'}",
        "--set", "channel.front=tcp://0.0.0.0:5550", "--set", "channel.back=tcp://0.0.0.0:5551",
    )  # fmt: skip
    rx = hosts.cli(
        "rx", "rx", "--out", tmp_path / "rx", "--reference", "none", "--set", "codec=null",
        "--set", "rx.name=gpu-1", "--set", f"rx.keys={tmp_path / 'keys' / 'gpu-1'}",
        "--set", f"rx.connect=tcp://{hosts.addresses['rx']}:5551",
    )  # fmt: skip
    tx = hosts.cli(
        "tx", "tx", tmp_path / "in", "--out", tmp_path / "tx", "--set", "codec=null",
        "--set", "tx.name=board-1", "--set", f"tx.keys={tmp_path / 'keys' / 'board-1'}",
        "--set", f"tx.connect=tcp://{hosts.addresses['tx']}:5550", "--set", "tx.window=4",
    )  # fmt: skip
    with (
        started(channel, tmp_path / "channel.log"),
        started(rx, tmp_path / "rx.log"),
        started(tx, tx_log) as sending,
    ):
        wait_for(lambda: len(hosts.peers("channel")) == 2, timeout=120)
        # The channel sees the router, and has no way to rx itself.
        assert sorted(hosts.peers("channel")) == ["10.99.1.2", "10.99.2.2"]
        assert "192.168" not in subprocess.check_output(
            hosts.on("channel", "ip", "route"), text=True
        )
        assert sending.wait(300) == 0, tx_log.read_text()
    rows = [json.loads(line) for line in (tmp_path / "tx/results.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["delivered"] * FRAMES
    assert {row["receiver"] for row in rows} == {"gpu-1"}
    for row in rows:
        known = ("k", "load_s", "encode_s", "decode_s", "time_to_preview_s", "preview_file")
        assert all(row[key] is not None for key in known), row
        assert row["grant_wait_s"] >= 2 * DELAY_S  # there and back
    for folder in ("tx", "rx"):
        assert all(finding.ok is not False for finding in examine_run(tmp_path / folder))
    assert all(wire.lost > 0 for wire in hosts.wires)
