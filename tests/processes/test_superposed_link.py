"""Two users over the link: four services in this process, real sockets, and the codec that ships.

What comes of a pair is what a sweep computes of it, and of a frame without another what it is
alone; a channel that ends in the middle changes nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from helpers import make_photographs, sentence, wait_for

from channel.service import ChannelService
from rx.service import ReceiverService
from simulator.chain import Draw, load_link
from simulator.children import free_ports
from simulator.errors import SettingsError
from simulator.images import load_image
from simulator.launch import simulate, stored_frames
from simulator.link.ids import draw_key
from simulator.methods.method import Point
from simulator.methods.superposed import Sharing
from simulator.prepare import prepare
from simulator.process import Stopper
from simulator.settings import Settings, make_settings
from tx.service import TransmitterService
from tx.stream import Manifest

pytestmark = pytest.mark.usefixtures("one_thread")

RATIO = Fraction(1, 48)


class Service(Protocol):
    def run(self, stop: Stopper) -> object: ...
    def close(self) -> None: ...


@contextmanager
def running(service: Service) -> Iterator[threading.Thread]:
    stop = Stopper()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    try:
        yield thread
    finally:
        stop.stop()
        thread.join()
        service.close()


def transmitter(settings: Settings) -> TransmitterService:
    run = prepare(settings, refines=False)
    folder = Path(run.settings.out)
    folder.mkdir(parents=True)
    return TransmitterService(run.settings, folder, Manifest(run.jobs))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_two_users_have_what_a_sweep_computes(tmp_path: Path) -> None:
    """User 2 has a frame more, and the larger first image."""
    one = make_photographs(tmp_path / "one", 2, (64, 96))
    two = [*make_photographs(tmp_path / "two", 3, (96, 128))[2:]]
    two += make_photographs(tmp_path / "three", 5, (64, 96))[3:]
    front, back = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))

    def settings(name: str, images: list[Path] | None = None) -> Settings:
        given = {
            "run": f"run of {name}", "out": str(tmp_path / "runs" / name), "rx.refine": False,
            "channel.kind": "rayleigh", "channel.superposed": ["cam1", "cam2"],
            "channel.front": front, "channel.back": back, "tx.connect": front, "rx.connect": back,
            "tx.name": name, "tx.images": [str(path) for path in images or ()],
            "tx.bandwidth_ratio": str(RATIO), "tx.runtime": "torch", "rx.lpips": False,
        }  # fmt: skip
        return make_settings(overrides=given)

    air = settings("air").channel
    with ExitStack() as stack:
        receiver = ReceiverService(settings("rx"), tmp_path / "rx")
        stack.enter_context(running(receiver))
        with running(ChannelService(air)):
            senders = [transmitter(settings("cam1", one)), transmitter(settings("cam2", two))]
            threads = [stack.enter_context(running(each)) for each in senders]
            wait_for(lambda: stored_frames(tmp_path / "runs" / "cam2") >= 1)
        stack.enter_context(running(ChannelService(air)))
        wait_for(lambda: not any(thread.is_alive() for thread in threads))

    rows = [rows_of(tmp_path / "runs" / name) for name in ("cam1", "cam2")]
    statuses = [[row["status"] for row in each] for each in rows]
    assert statuses == [["delivered"] * 2, ["delivered"] * 3]
    link = load_link("compact", "torch")
    point = Point("rayleigh", RATIO / 2, 10.0)

    def draw(path: Path) -> Draw:
        return Draw.under(air, draw_key(0, load_image(path).sha256, 0), point)

    def preview(row: dict[str, Any]) -> np.ndarray:
        return load_image(tmp_path / "rx" / row["preview_file"]).pixels

    for both in zip(*rows, strict=False):
        paths = [Path(row["image"]) for row in both]
        images = load_image(paths[0]).pixels, load_image(paths[1]).pixels
        draws = draw(paths[0]), draw(paths[1])
        for user, row in enumerate(both):
            got = Sharing(link).send(images, RATIO, draws, user)
            assert np.array_equal(preview(row), got.pixels)
            assert (row["sinr_db"], row["k"]) == (got.told_sinr_db, got.k)
            uses = row["bandwidth_ratio"] * 3 * row["height"] * row["width"]
            assert uses == pytest.approx(got.charged)
            assert row["superposed_with"] == both[1 - user]["frame_id"]
            assert row["share"] == (0.8, 0.2)[user]
    last = rows[1][2]
    path = Path(last["image"])
    alone = link.send(load_image(path).pixels, RATIO, draw(path))
    assert np.array_equal(preview(last), alone.pixels)
    assert (last["superposed_with"], last["share"], last["sinr_db"]) == (None, None, None)


def test_one_transmitter_cannot_be_two(tmp_path: Path) -> None:
    given = {"channel.superposed": ["cam1", "cam2"], "out": str(tmp_path / "run")}
    with pytest.raises(SettingsError, match="diffjscc tx for each") as caught:
        simulate(make_settings(overrides=given))
    assert sentence(caught) and not (tmp_path / "run").exists()
