"""The way back to transmitters: late, lossy, and in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers import make_photographs

from channel.downlink import Downlink
from simulator.edge import DownlinkSettings
from simulator.launch import simulate
from simulator.link import messages as m
from simulator.runfolder import name_run
from simulator.settings import make_settings

HELD = m.Held(frame_id=bytes(16))
BEAT = m.Heartbeat(times=[1.0])


def downlink(draws: list[float], **settings: float) -> tuple[Downlink, list[Any]]:
    arrived: list[Any] = []

    def deliver(parts: Any) -> bool:
        arrived.append(parts)
        return parts != ["nobody"]

    drawn = iter(draws)
    return Downlink(DownlinkSettings(**settings), deliver, lambda: next(drawn)), arrived


def test_messages_about_frames_come_late_and_in_order() -> None:
    link, arrived = downlink([], delay_s=0.5)
    assert link.next_at is None
    link.send(HELD, ["a"], 10.0)
    link.send(HELD, ["b"], 10.25)
    assert not arrived and link.next_at == 10.5
    link.arrive(10.6)
    assert arrived == [["a"]] and link.next_at == 10.75
    link.arrive(11.0)
    assert arrived == [["a"], ["b"]] and link.next_at is None


def test_what_keeps_the_link_is_not_of_it() -> None:
    link, arrived = downlink([], delay_s=0.5, loss=0.9)
    assert link.send(BEAT, ["beat"], 10.0) and arrived == [["beat"]]
    assert not link.send(BEAT, ["nobody"], 10.0)


def test_a_share_of_messages_is_lost() -> None:
    link, arrived = downlink([0.09, 0.11, 0.5], loss=0.1)
    assert all(link.send(HELD, [name], 10.0) for name in "abc")
    assert arrived == [["b"], ["c"]]


def test_a_run_arrives_over_it(tmp_path: Path) -> None:
    """Grants and results that are lost are asked for and offered again."""
    make_photographs(tmp_path / "in", 4)
    given = {
        "codec": "null", "rx.reference": "none", "tx.images": [str(tmp_path / "in")],
        "channel.downlink.delay_s": 0.05, "channel.downlink.loss": 0.2, "tx.window": 4,
        "out": str(tmp_path / "out"),
        "tx.edge.profile": "board", "tx.edge.encode_s": 0.01,
    }  # fmt: skip
    rows = simulate(name_run(make_settings(overrides=given)))
    assert [row["status"] for row in rows] == ["delivered"] * 4
    assert all(row["grant_wait_s"] >= 0.05 for row in rows)
    assert all("edge board: encoder slowed down" in row["notes"] for row in rows)
    assert all(row["time_to_preview_s"] >= 0.1 for row in rows)
    assert (tmp_path / "out" / "edge.json").is_file()
