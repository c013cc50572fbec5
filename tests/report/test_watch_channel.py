"""A page of a channel that runs: over a real socket, with and without keys, and what it shows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broker_world import World, confirm, frame_id, result
from gate_world import Bench
from helpers import photograph, sentence, wait_for
from msgspec.structs import replace
from PIL import Image
from report_world import HOSTILE
from watch_world import Answer, serving_it

from channel.service import ChannelService
from simulator.children import free_ports
from simulator.errors import KeysError, RejectedError, SettingsError
from simulator.link import keyfolder
from simulator.link import messages as m
from simulator.link import watching as w
from simulator.link.clock import monotonic
from simulator.settings import ChannelSettings, make_settings
from simulator.watch import channel
from simulator.watch.channel import WatchedChannel
from simulator.watch.opened import opened

LABEL = "in/bridge.png"


class Running(World):
    """The channel process in this one: its broker by hand, its door for watching over a socket."""

    def __init__(self, watch: str) -> None:
        front, back = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
        settings = ChannelSettings(front=front, back=back, watch=watch)
        self.service = ChannelService(settings)
        super().__init__()
        self.broker = self.service.broker
        self.broker._send = self.broker.greeter._send = self.send
        self.pages_at = 0.0

    def send(self, side: Any, identity: bytes, message: m.Message, parts: tuple[Any, ...]) -> bool:
        sent = super().send(side, identity, message, parts)
        if sent and self.service._watching:
            self.service._watching.sent(message, parts, "gpu-1")
        return sent

    def clock(self) -> float:
        """The page's: the channel looks at its door whenever the page looks at the time."""
        self.pages_at += 0.2
        if self.service._watching:
            self.service._watching.look(self.pages_at)
        return monotonic()

    def frame(self, i: int, **fields: Any) -> m.Frame:
        return super().frame(i, **({"label": LABEL} | fields))


@contextmanager
def running() -> Iterator[tuple[Running, WatchedChannel]]:
    endpoint = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    world = Running(endpoint)
    source = WatchedChannel(endpoint, clock=world.clock)
    try:
        world.tx()
        world.rx(slots=8)
        yield world, source
    finally:
        source.close()
        world.service.close()


def png(i: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photograph(i, (64, 96))).save(file, "PNG")
    return file.getvalue()


def passed(world: Running, i: int, returns: m.Returns | None = None, **values: Any) -> None:
    """A frame on its way to its row, pictures included where tx wants them."""
    world.ask(i)
    world.put(i, returns=returns, height=64, width=96)
    for stage in ("preview", "refined") if returns else ():
        told = m.Stage(frame_id=frame_id(i), tx="tx", stage=stage, elapsed_s=0.5)  # type: ignore[arg-type]
        world.say("back", b"r", told, png(i))
    world.say("back", b"r", replace(result(i), values=values))
    world.say("front", b"t", confirm(i))


def looked(source: WatchedChannel, until: Callable[[], bool]) -> None:
    def done() -> bool:
        source.look()
        return until()

    wait_for(done)


def test_what_passes_the_channel_is_shown(tmp_path: Path) -> None:
    with running() as (world, source):
        looked(source, lambda: not source.state.trouble)
        passed(world, 1, psnr_preview=21.5, caption=HOSTILE, h_abs2=float("1e300"))
        passed(world, 2, returns=m.Returns(upto="refined"))
        with serving_it(source) as page:
            events = Answer(page, "/events")
            frames: dict[str, Any] = {}

            def whole(told: dict[str, Any]) -> bool:
                frames.update({each["key"]: each for each in told["frames"]})
                state.update(told)
                return any("refined" in each["pictures"] for each in frames.values())

            state: dict[str, Any] = {}
            events.until(whole)
            first, second = (frames[frame_id(i).hex()] for i in (1, 2))
            assert (first["status"], first["image"], first["channel"]) == (
                "delivered", LABEL, "rayleigh",
            )  # fmt: skip
            assert first["psnr_preview"] == 21.5 and first["caption"] == HOSTILE
            assert "--return" in first["absent"]["refined"] and "tx" in first["absent"]["sent"]
            assert second["pictures"] == ["preview", "refined"]
            assert state["counts"] == {"delivered": 2} and not state["report"]
            assert "2 frames passed on" in state["says"]["channel"] or state["says"]["channel"]
            assert state["says"]["rx"] == "rx (holds 0 of 8)"
            shown = Answer(page, f"/picture/{second['key']}/refined")
            assert shown.status == 200
            picture = np.asarray(Image.open(io.BytesIO(shown.body)).convert("RGB"), np.int16)
            assert np.abs(picture - photograph(2, (64, 96))).mean() < 6
            assert Answer(page, f"/picture/{first['key']}/refined").status == 404
            clouds = json.loads(Answer(page, f"/symbols/{second['key']}").body)["clouds"]
            assert set(clouds) == {"received", "divided by h"} and len(clouds["received"]) == 8
            assert Answer(page, "/report").status == 404


def test_a_channel_that_goes_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "ANSWER_S", 0.3)
    with running() as (world, source):
        passed(world, 1)
        looked(source, lambda: len(source.after(0)) == 1)
        door, world.service._watching = world.service._watching, None
        assert door is not None
        looked(source, lambda: "does not answer" in source.state.trouble)
        assert len(source.after(0)) == 1  # what was seen stays
        world.service._watching = door
        looked(source, lambda: not source.state.trouble)
        door.onlookers._epoch = "another process"
        passed(world, 2)
        looked(source, lambda: [frame.number for frame in source.after(0)] == [1, 2])


def test_pages_with_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.watch.channel.ANSWER_S", 60.0)  # however busy this machine is
    bench = Bench(tmp_path, watch=True)
    try:
        for name in ("alice", "mallory"):
            bench.make("watch", name)
        keyfolder.add(bench.keys, "watch", tmp_path / "watch" / "alice" / "alice.pub")
        bench.start()
        with pytest.raises(RejectedError) as refused, opened([bench.watch], mallory(tmp_path)):
            pass
        assert "does not admit its key" in sentence(refused)
        with pytest.raises(RejectedError, match="wants keys"), opened([bench.watch]):
            pass
        with pytest.raises(KeysError, match="the key of a tx"):
            WatchedChannel(bench.watch, str(tmp_path / "tx" / "board"))
        with opened([bench.watch], tmp_path / "watch" / "alice") as source:
            looked(source, lambda: "channel" in source.state.says)  # type: ignore[arg-type]
            keyfolder.revoke(bench.keys, "watch", "alice")
            looked(source, lambda: "does not admit" in source.state.trouble)  # type: ignore[arg-type]
    finally:
        bench.close()
    assert not bench.heard  # nothing of it came to the broker


def mallory(folder: Path) -> Path:
    return folder / "watch" / "mallory"


def test_a_door_of_the_link_is_not_the_one_for_watching() -> None:
    front, back = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    service = ChannelService(ChannelSettings(front=front, back=back))

    def clock() -> float:
        service._drain("front")
        return monotonic()

    stray = WatchedChannel(front, clock=clock)
    try:
        looked(stray, lambda: "channel.watch" in stray.state.trouble)
        assert service.broker.refused == {"bad-message": 1}
    finally:
        stray.close()
        service.close()


@pytest.mark.parametrize(
    ("what", "keys", "words"),
    [
        (["tcp://127.0.0.1:1", "runs"], None, "one channel alone"),
        (["runs"], Path("keys"), "folders need none"),
    ],
)
def test_what_does_not_go_together(what: list[str], keys: Path | None, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as error, opened(what, keys):
        pass
    sentence(error)


def test_keys_of_one_start_admit_no_page() -> None:
    with pytest.raises(SettingsError, match="admit no page"):
        make_settings(overrides={"keys": True, "channel.watch": "tcp://127.0.0.1:5552"})


def test_a_view_that_cannot_be_is_not_shown() -> None:
    view = w.encode(w.View(version=w.VERSION), b"")
    for raw in ([], view[:1], [b"\xff", b""], [*view, b""], [b"x" * 70_000, b""],
                [view[0], bytes(w.MAX_PICTURE_BYTES + 1)]):  # fmt: skip
        with pytest.raises(m.WireError):
            w.decode_view(raw)
    assert w.decode_view(view)[0].version == w.VERSION
