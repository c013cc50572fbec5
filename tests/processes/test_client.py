"""Arrays through a channel and a receiver of their own, and back into this process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers import photograph, wait_for

import simulator
from simulator.children import free_ports
from simulator.client import aio
from simulator.client.client import Client, Fail
from simulator.errors import AddressError, DeliveryError, DiffJsccError, LinkClosed, SettingsError
from simulator.images import Pixels, load_image
from simulator.settings import Settings, make_settings

QUICK = {"rx.lpips": False, "rx.refine": False, "model": "no/model", "codec": "compact"}
NULL = {"codec": "null", "rx.reference": "none", "rx.save_images": False}
SIZE = (96, 128)


def picture(seed: int = 0) -> Pixels:
    return photograph(seed, SIZE)


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A codec with weights, over Rayleigh fading."""
    out = tmp_path_factory.mktemp("runs") / "run"
    given = {**QUICK, "channel.kind": "rayleigh", "tx.bandwidth_ratio": "1/96", "seed": 3}
    with simulator.local(given, out=out, returns="preview") as made:
        yield made


def test_a_preview_comes_back_as_the_receiver_kept_it(link: Client) -> None:
    sent = link.send(picture(), name="first")
    preview, row = sent.preview(60), sent.row(60)
    assert preview.shape == (*SIZE, 3) and preview.dtype == np.uint8
    assert link.folder is not None
    assert np.array_equal(preview, load_image(link.folder / row["preview_file"]).pixels)
    mse = np.mean((preview.astype(float) - picture()) ** 2)
    assert row["psnr_preview"] == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-3)
    assert (row["image"], row["status"], row["channel"]) == ("first", "delivered", "rayleigh")
    assert row["returned_bytes"] > 1000 and row["return_s"] > 0
    assert row["frame_id"] == sent.frame_id and sent.done


def test_each_frame_has_its_own_point_and_its_own_noise(link: Client) -> None:
    same = [link.send(picture(), snr_db=0) for _ in range(2)]
    other = link.send(picture(), snr_db=20, cbr="1/48")
    rows = [sent.row(60) for sent in (*same, other)]
    assert [row["snr_db"] for row in rows] == [0, 0, 20]
    assert [row["cbr"] for row in rows] == ["1/96", "1/96", "1/48"]
    assert rows[0]["h_abs2"] != rows[1]["h_abs2"]
    assert [row["repeat"] for row in rows] == [sent.number for sent in (*same, other)]


def test_a_stream_comes_back_in_order(link: Client) -> None:
    frames = [picture(i) for i in range(5)]
    sent = list(link.stream(frames, ahead=2, cbr="1/384"))
    assert [each.number for each in sent] == sorted(each.number for each in sent)
    assert all(each.row(0)["status"] == "delivered" for each in sent)


def test_files_may_be_sent_and_arrays_changed_afterwards(link: Client, tmp_path: Path) -> None:
    from simulator.png import save_png

    save_png(picture(1), tmp_path / "a.png")
    array = picture(1).copy()
    sent = [link.send(tmp_path / "a.png", snr_db=20), link.send(array, snr_db=20)]
    array[:] = 0  # a camera's buffer is used again
    assert [each.row(60)["psnr_preview"] > 20 for each in sent] == [True, True]
    assert sent[0].name == "a.png"


def test_threads_may_send_at_once(link: Client) -> None:
    found: list[bool] = []

    def work(seed: int) -> None:
        found.append(link.send(picture(seed)).preview(60).shape == (*SIZE, 3))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 4


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda link: link.send(np.zeros((8, 8))), "give (H, W, 3) uint8"),
        (lambda link: link.send(picture(), snr_db=61), "an SNR of 61 dB; give -30 to 60"),
        (lambda link: link.send(picture(), name="a\0b"), "leave the NUL character out"),
        (lambda link: link.send(picture(), cbr="1/0"), "1/0"),
        (lambda link: link.send("no such file.png"), "no such file"),
        (lambda link: link.send(picture()).refined(60), "does not come back"),
        (lambda link: link.send(b"no image").row(60), "not an image of a kind"),
        (lambda link: link.send(picture(), cbr="1/5"), "no bandwidth ratio 1/5"),
    ],
)
def test_mistakes_are_sentences_and_the_link_goes_on(link: Client, what, words: str) -> None:
    try:
        row = what(link)
    except DiffJsccError as error:
        said = str(error)
    else:
        said = row["reason"]
    assert words in said
    assert link.send(picture()).row(60)["status"] == "delivered"


def test_what_was_refused_has_no_preview(link: Client) -> None:
    with pytest.raises(DeliveryError, match=r"was not delivered \(refused\)"):
        link.send(b"no image").preview(60)


def test_the_run_folder_is_whole_when_the_link_is_closed(tmp_path: Path) -> None:
    given = {**NULL, "run": "r"}
    with simulator.local(given, out=tmp_path / "run", returns="none") as link:
        sent = [link.send(picture(i)) for i in range(3)]
    rows = [json.loads(line) for line in (tmp_path / "run/results.jsonl").read_text().splitlines()]
    assert [row["frame_id"] for row in rows] == [each.frame_id for each in sent]
    with pytest.raises(LinkClosed, match="closed"):
        link.send(picture())
    with simulator.local(given, out=tmp_path / "run", returns="none") as again:
        assert again.send(picture()).number == 3  # numbers go on


def test_where_only_the_latest_counts_the_others_are_rows(tmp_path: Path) -> None:
    given = {**NULL, "rx.decode_s": 0.2, "tx.window": 1}
    with simulator.local(
        given, out=tmp_path / "run", when_busy="latest", returns="preview"
    ) as link:
        sent = [link.send(picture()) for _ in range(8)]
    rows = [each.row(0) for each in sent]
    statuses = [row["status"] for row in rows]
    assert set(statuses) == {"delivered", "dropped"} and statuses[-1] == "delivered"
    dropped = next(each for each in sent if each.row(0)["status"] == "dropped")
    with pytest.raises(DeliveryError, match="newer frame"):
        dropped.preview(0)


def test_without_a_ledger_nothing_is_left_and_numbers_add_up(tmp_path: Path) -> None:
    with simulator.local(NULL, returns="preview", durable=False) as link:
        assert link.folder is None
        sent = [link.send(picture()) for _ in range(3)]
        assert [each.row(60)["status"] for each in sent] == ["delivered"] * 3
        assert sent[0].preview(1).shape == (*SIZE, 3)


def test_a_channel_that_is_not_there_is_said_in_each_timeout(tmp_path: Path) -> None:
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    link = simulator.connect(address, codec="null", out=tmp_path / "run")
    try:
        sent = link.send(picture(), timeout=60)
        wait_for(lambda: "nobody listens at" in link._link.why())
        with pytest.raises(TimeoutError, match="nobody listens at"):
            sent.preview(0.1)
        for _ in range(2):
            link.send(picture(), timeout=60)
        with pytest.raises(TimeoutError, match="takes no frame within 0.1 s"):
            link.send(picture(), timeout=0.1)
        with pytest.raises(TimeoutError, match="under way after 0.1 s"):
            link.close(0.1)
    finally:
        link.stop()
    with pytest.raises(LinkClosed):
        sent.row(1)


def test_a_receiver_that_cannot_start_ends_the_link_with_its_sentence(tmp_path: Path) -> None:
    given = {"codec": "null", "rx.refine": True}
    with pytest.raises(SettingsError, match="carries no image"):
        simulator.local(given)
    link = simulator.local({**QUICK, "rx.device": "nothing"}, out=tmp_path / "run")
    with pytest.raises(DiffJsccError, match="give auto, cpu"):
        link.send(picture()).row(60)
        link.send(picture()).row(60)
    link.stop()
    with pytest.raises(AddressError):
        simulator.connect("udp://nowhere", codec="null", out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_machines_that_fail_before_there_is_a_link_end_it_too(tmp_path: Path) -> None:
    @contextmanager
    def broken(settings: Settings, folder: Path, fail: Fail) -> Iterator[Settings]:
        fail(SettingsError("the receiver cannot start."))
        yield settings

    made = make_settings(overrides={"codec": "null", "out": str(tmp_path / "run")})
    link = Client(made, around=broken)
    with pytest.raises(SettingsError, match="cannot start"):
        link.close(60)


def test_the_same_on_asyncio(tmp_path: Path) -> None:
    async def work() -> list[str]:
        out = tmp_path / "run"
        async with aio.local(NULL, out=out, returns="preview") as link:
            sent = await link.send(picture())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sent.row(), 1e-6)
            assert (await sent.preview()).shape == (*SIZE, 3)
            rows = [await each.row() async for each in link.stream(picture(i) for i in range(3))]
        return [row["status"] for row in rows]

    assert asyncio.run(work()) == ["delivered"] * 3


KILLED = """
import os, sys
import numpy as np
import simulator

given = {"codec": "null", "rx.reference": "none", "rx.save_images": False, "run": "r"}
link = simulator.connect(sys.argv[1], out=sys.argv[2], returns="none", settings=given)
for i in range(2):
    link.send(np.full((96, 128, 3), i, np.uint8), timeout=0.5)
os.kill(os.getpid(), 9)
"""


def test_what_was_sent_before_a_kill_is_sent_by_the_next_link(tmp_path: Path) -> None:
    """Nobody receives yet: the frames are in the ledger alone."""
    out = tmp_path / "run"
    nobody = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    process = subprocess.run([sys.executable, "-c", KILLED, nobody, str(out)], timeout=60)
    assert process.returncode == -9
    given = {**NULL, "run": "r", "tx.wait_receivers": 1}
    with simulator.local(given, out=out, returns="none") as link:
        assert link.send(picture()).number == 2
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [(row["image"], row["repeat"]) for row in rows] == [(f"{i:06d}", i) for i in range(3)]
