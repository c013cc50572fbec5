"""The promise of the link under attack, in short; ``make soak`` is the long form."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import wait_for

from simulator.launch import stored_frames
from simulator.link.ledger import TxLedger
from tests.chaos.proxy import Proxy
from tests.chaos.soak import attack
from tests.chaos.verify import Verdict, rx_rows, verify
from tests.chaos.world import MULTIPATH_AND_MIMO, SUPERPOSED, World


def test_nothing_is_lost_or_done_twice_under_fire(tmp_path: Path) -> None:
    """Two transmitters and two receivers, killed, frozen and cut off at random.

    With 20 ms a frame the two receivers have 12 s of work, if nothing happens.
    """
    outcome = attack(
        tmp_path / "world",
        frames=600,
        transmitters=2,
        receivers=2,
        fire_s=20,
        seed=7,
        pause_s=0.6,
        freeze_s=4,
        delay_s=0.02,
    )
    assert outcome.finished, outcome
    assert not outcome.verdict.broken, outcome
    assert outcome.verdict.frames == 1200
    assert outcome.verdict.computed >= 1200
    # It was a fight at all.
    assert outcome.kills >= 5 and len(outcome.events) >= 3, outcome
    assert sum(outcome.lives.values()) >= 5 + outcome.kills


@pytest.mark.parametrize(
    ("frames", "seed", "more"),
    [(400, 11, {"codec": "null-feedback"}), (200, 5, {"air": MULTIPATH_AND_MIMO})],
    ids=["rounds", "two kinds of channel"],
)
def test_other_systems_survive_kills(
    tmp_path: Path, frames: int, seed: int, more: dict[str, Any]
) -> None:
    """Frames of two rounds, of which a killed channel loses rounds, never a frame; and OFDM over
    multipath beside two antennas in one run, packets that are lost: the same rows."""
    outcome = attack(
        tmp_path / "world",
        frames=frames,
        transmitters=1,
        receivers=1,
        fire_s=8,
        seed=seed,
        pause_s=0.4,
        freeze_s=2,
        **more,
    )
    assert outcome.finished and outcome.kills >= 3, outcome
    assert not outcome.verdict.broken and outcome.verdict.frames == 400, outcome


def test_two_users_on_the_same_channel_uses_survive_a_kill_of_each(tmp_path: Path) -> None:
    """Pairs stay pairs, and nothing is sent alone but the frames that have no other one. The first
    transmitter goes on, in the middle of its pairs."""
    world = World(
        tmp_path / "world", frames=12, transmitters=2, receivers=1, delay_s=0.05, air=SUPERPOSED,
        more=4, window=4,
    )  # fmt: skip
    stored = [world.folder / name for name in ("tx1", "tx2")]
    try:
        world.start()
        wait_for(lambda: min(map(stored_frames, stored)) >= 2)
        for process in (each for each in world.processes if each.name != "tx1"):
            assert process.send(signal.SIGKILL) and process.handle
            process.handle.wait()
        while not world.finished:
            world.tend()
            time.sleep(0.02)
    finally:
        world.close()
    assert verify(world) == Verdict(frames=28, computed=28)


def test_a_receiver_told_to_stop_finishes_what_it_holds(tmp_path: Path) -> None:
    world = World(tmp_path / "world", frames=60, transmitters=1, receivers=2, delay_s=0.05)
    (first,) = [each for each in world.processes if each.name == "rx1"]
    ledger = world.folder / "rx1" / "rx-rx1.db"
    try:
        world.start()
        wait_for(lambda: stored_frames(world.folder / "tx1") >= 10)
        before = len(list(rx_rows(ledger)))
        assert first.send(signal.SIGTERM) and first.handle
        assert first.handle.wait(20) == 0
        made = len(list(rx_rows(ledger))) - before
        first.done = True  # it does not come back to offer what it has
        while not world.finished:
            world.tend()
            time.sleep(0.02)
    finally:
        world.close()
    (said,) = re.findall(r"stopping; (\d+) frames are finished first", first.log.read_text())
    assert made >= int(said) >= 2
    # What it finished has arrived: nobody had to do it again.
    assert verify(world) == Verdict(frames=60, computed=60)


def test_verify_finds_what_is_wrong(tmp_path: Path) -> None:
    """A check that could not fail would be none: rows are removed, doubled and changed."""
    world = World(tmp_path / "world", frames=40, transmitters=1, receivers=1)
    try:
        world.start()
        deadline = time.monotonic() + 60
        while not world.finished and time.monotonic() < deadline:
            world.tend()
            time.sleep(0.05)
    finally:
        world.close()
    clean = Verdict(frames=40, computed=40)
    assert verify(world) == clean
    ledger = TxLedger(tmp_path / "world" / "tx1" / "tx.db")
    rows = list(ledger.results())
    ids = [bytes.fromhex(row["frame_id"]) for row in rows]
    ledger.run("DELETE FROM results WHERE frame_id = ?", (ids[0],))
    # Under another key, as a ledger without its primary key would have it.
    ledger.store([(b"another key", "delivered", rows[1])])
    assert verify(world) == replace(clean, missing=1, duplicate=1)
    louder = {**rows[2], "received_snr_db": rows[2]["received_snr_db"] + 0.01}
    ledger.run("DELETE FROM results WHERE frame_id = ?", (ids[2],))
    ledger.store([(ids[2], "delivered", louder)])
    assert verify(world) == replace(clean, missing=1, duplicate=1, wrong=1, unequal=1)
    ledger.run("DELETE FROM results WHERE frame_id = ?", (ids[3],))
    ledger.store([(ids[3], "dead", {**rows[3], "status": "dead"})])
    found = verify(world)
    assert found.undelivered == 1
    assert set(found.broken) == {"missing", "duplicate", "wrong", "unequal", "undelivered"}
    ledger.close()


@pytest.fixture
def echo() -> Iterator[Proxy]:
    """A proxy before a server that sends back what it is sent."""
    server = socket.create_server(("127.0.0.1", 0))
    proxy = Proxy(server.getsockname()[1])
    server.settimeout(5)
    yield_to = []

    def connect() -> tuple[socket.socket, socket.socket]:
        near = socket.create_connection(("127.0.0.1", proxy.port), 5)
        far, _ = server.accept()
        far.settimeout(5)
        yield_to.extend((near, far))
        return near, far

    proxy.connect = connect  # type: ignore[attr-defined]
    yield proxy
    for each in yield_to:
        each.close()
    proxy.close()
    server.close()


def test_proxy_carries_every_byte_in_pieces(echo) -> None:
    near, far = echo.connect()
    echo.split, sent = 7, bytes(range(256)) * 40
    near.sendall(sent)
    got = b""
    while len(got) < len(sent):
        got += far.recv(65536)
    assert got == sent


def test_proxy_resets(echo) -> None:
    near, far = echo.connect()
    near.sendall(b"x")
    assert far.recv(1) == b"x"
    echo.reset()
    for end in (near, far):
        with pytest.raises(ConnectionResetError):
            end.recv(1)


def test_proxy_closes_one_direction(echo) -> None:
    near, far = echo.connect()
    near.sendall(b"x")
    assert far.recv(1) == b"x"
    echo.half_close()
    ends = dict.fromkeys((near, far))
    for end in ends:
        end.settimeout(1)
        try:
            ends[end] = end.recv(1)
        except TimeoutError:
            continue
    assert sorted(ends.values(), key=repr) == [None, b""]


def test_proxy_stalls_and_goes_on(echo) -> None:
    near, far = echo.connect()
    echo.stall(0.5)
    near.sendall(b"late")
    far.settimeout(0.2)
    with pytest.raises(TimeoutError):
        far.recv(4)
    far.settimeout(5)
    assert far.recv(4) == b"late"
