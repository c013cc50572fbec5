"""What must hold after a run, whatever happened in it: PROTOCOL's promise, counted.

At least one computation, exactly one ledger row, unchanged noise.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from channel.medium import Medium
from channel.superposed import gain_of, receptions_of
from rx.chain import NullDecoder
from simulator.chain import Draw, Link
from simulator.jscc.folder import read_codec_folder
from simulator.jscc.rates import null_symbols
from simulator.phy.superposition import scrambling, users_of
from simulator.settings import Settings
from tests.chaos.world import World
from tx.encoder import make_encoder
from tx.interface import Encoder
from tx.source import build_manifest

TOLERANCE = 1e-6  # rows are rounded there


@dataclass
class Verdict:
    """Counts over all transmitters; all but ``frames`` and ``computed`` must be 0."""

    frames: int = 0
    computed: int = 0  # rows of all receivers: more than frames where work was done twice
    missing: int = 0
    strange: int = 0  # rows of frames that were never to be sent
    duplicate: int = 0
    undelivered: int = 0  # dead or refused
    wrong: int = 0  # other noise, gain or operating point than the frame's own
    unknown_to_rx: int = 0  # in tx's ledger, and not in that of the receiver it names
    unequal: int = 0  # tx's row differs from the receiver's
    ended_on_purpose: int = 0  # a process gave up with an exit code of its own

    @property
    def broken(self) -> dict[str, int]:
        return {k: v for k, v in asdict(self).items() if v and k not in ("frames", "computed")}


@dataclass(frozen=True)
class Truth:
    """What the row of a frame must say, by its keys."""

    received_snr_db: float
    h_abs2: float
    k: int
    packets_lost: int
    superposed_with: str | None = None


def verify(world: World) -> Verdict:
    """Reads the ledgers of a world whose processes have ended."""
    verdict = Verdict(ended_on_purpose=sum(len(p.meant) for p in world.processes))
    received = {
        p.name: dict(rx_rows(world.folder / p.name / f"rx-{p.name}.db"))
        for p in world.processes
        if p.role == "rx"
    }
    verdict.computed = sum(map(len, received.values()))
    for process in world.transmitters:
        check_transmitter(verdict, world.settings[process.name], world, process.name, received)
    return verdict


def check_transmitter(
    verdict: Verdict,
    settings: Settings,
    world: World,
    name: str,
    received: dict[str, dict[str, dict[str, Any]]],
) -> None:
    wanted = {job.frame_id.hex(): job for job in build_manifest(settings)}
    rows = list(tx_rows(world.folder / name / "tx.db"))
    ids = [row["frame_id"] for row in rows]
    verdict.frames += len(wanted)
    verdict.missing += len(wanted.keys() - set(ids))
    verdict.strange += len(set(ids) - wanted.keys())
    verdict.duplicate += len(ids) - len(set(ids))
    medium = Medium(world.settings["channel"].channel)
    encoder = make_encoder(settings.tx, read_codec_folder(settings.codec))
    link = Link(encoder, NullDecoder())
    pixels = np.zeros((*world.size_px, 3), np.uint8)
    users = world.settings["channel"].channel.superposed
    of_two = truths_of_two(world, medium, encoder) if users else {}
    for row in rows:
        if row["status"] != "delivered":
            verdict.undelivered += 1
            continue
        job = wanted.get(row["frame_id"])
        if job is None:
            continue
        truth = of_two.get(job.frame_id)
        if truth is None:
            draw = Draw(medium, job.draw_key, job.point)
            sent = link.send(pixels, Fraction(job.point.bandwidth_ratio), draw)
            air = sent.air
            truth = Truth(air.received_snr_db, air.h_abs2, len(sent.sent), air.packets_lost)
        verdict.wrong += not (
            near(row["received_snr_db"], truth.received_snr_db)
            and near(row["h_abs2"], truth.h_abs2)
            and row["k"] == truth.k
            and row["packets_lost"] == truth.packets_lost
            and row["superposed_with"] == truth.superposed_with
        )
        theirs = received[row["receiver"]].get(row["frame_id"])
        if theirs is None:
            verdict.unknown_to_rx += 1
        else:
            same = ("received_snr_db", "h_abs2", "packets_lost", "bandwidth_ratio")
            verdict.unequal += any(row[key] != theirs[key] for key in same)


def truths_of_two(world: World, medium: Medium, encoder: Encoder) -> dict[bytes, Truth]:
    """Of the frames that two users send at once, by their ids."""
    settings = world.settings["channel"].channel
    one, other = (build_manifest(world.settings[name]) for name in settings.superposed)
    found = {}
    for jobs in zip(one, other, strict=False):
        point = jobs[0].point
        k = encoder.k(world.size_px, Fraction(point.bandwidth_ratio))
        sent = [scrambling(user, k).done(null_symbols(k)) for user in (0, 1)]
        h = [gain_of(medium, job.draw_key, point) for job in jobs]
        users = users_of(settings.share, (h[0], h[1]), (k, k))
        received = receptions_of(medium, users, jobs[0].draw_key, point, sent)
        for job, beside, each in zip(jobs, jobs[::-1], received, strict=True):
            other_id = beside.frame_id.hex()
            found[job.frame_id] = Truth(each.received_snr_db, each.h_abs2, k, 0, other_id)
    return found


def near(a: float | None, b: float) -> bool:
    return a is not None and abs(a - b) <= TOLERANCE


def tx_rows(path: Path) -> Iterator[dict[str, Any]]:
    for (body,) in read(path, "SELECT body FROM results"):
        yield json.loads(body)


def rx_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for frame_id, body in read(path, "SELECT frame_id, body FROM results"):
        yield frame_id.hex(), json.loads(body)


def read(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Not by the ledger's own class: that is under test."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return list(connection.execute(sql))
    finally:
        connection.close()
