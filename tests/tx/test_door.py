"""The door: what it takes, and how it answers."""

from __future__ import annotations

import io
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
from door_world import FakeLink, World, png, same, world
from helpers import photograph, sentence, wait_for
from PIL import Image

import simulator
import tx.door.door as door_module
from simulator.children import free_ports
from simulator.errors import (
    AddressError,
    LinkClosed,
    MissingPackageError,
    SettingsError,
    StorageError,
)
from simulator.images import decode_image
from tx.door import Door
from tx.link import Link

SIZE = (48, 64)


@pytest.fixture
def here() -> Iterator[World]:
    with world() as made:
        yield made


def form(
    file: bytes, name: str = "photo.png", field: str = "image"
) -> tuple[bytes, dict[str, str]]:
    head = (
        f'--edge\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        f"Content-Type: image/png\r\n\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    return head.encode() + file + b"\r\n--edge--\r\n", kind


# Frames


def test_a_picture_is_sent_as_it_was_asked(here: World) -> None:
    answer = here.ask("/frame?snr_db=5&cbr=1/96&name=first", png())
    assert answer.status == 202
    assert answer.json == {"frame_id": "0" * 32, "number": 0, "name": "first"}
    pixels, *asked = here.link.asked[0]
    assert same(pixels, photograph(0, SIZE)) and asked == [5.0, "1/96", "first"]
    assert here.ask(body=png(1)).json["number"] == 1
    assert here.link.asked[1][1:] == (None, "", "")
    assert here.status() == {"frames": 2, "requests": 0, "waiting_for": None, "refused": {}}


def test_a_form_names_the_picture(here: World) -> None:
    body, headers = form(png(), "C:\\photos\\a.png")
    assert here.ask(body=body, headers=headers).json["name"] == "a.png"
    assert here.ask("/frame?name=b", body, headers=headers).json["name"] == "b"
    assert same(here.link.asked[0][0], photograph(0, SIZE))


@pytest.mark.parametrize("kind", ["", "image/png", "application/x-www-form-urlencoded"])
def test_a_body_of_unknown_length_is_taken(here: World, kind: str) -> None:
    data = png()
    pieces = iter([data[:100], data[100:]])
    assert here.ask(body=pieces, headers={"Content-Type": kind}).status == 202


def test_a_row_is_waited_for(here: World) -> None:
    asked = here.later("/frame?wait=row", png())
    wait_for(lambda: here.link.sent)
    assert not asked.done()
    here.link.row(0, "refused", psnr_preview=float("nan"))
    row = asked.result().json
    assert (row["status"], row["reason"], row["psnr_preview"]) == ("refused", "because", None)


@pytest.mark.parametrize(
    ("stage", "file", "kind"),
    [
        ("preview", png(), "image/png"),
        ("refined", b"\xff\xd8\xff\xdb...", "image/jpeg"),
        ("refined", b"RIFF....", "image/webp"),
        ("preview", b"<script>", "application/octet-stream"),
    ],
)
def test_a_picture_is_waited_for(here: World, stage: str, file: bytes, kind: str) -> None:
    asked = here.later(f"/frame?wait={stage}", png())
    wait_for(lambda: here.link.sent)
    here.link.picture(0, stage, file)
    answer = asked.result()
    assert (answer.status, answer.body) == (200, file)
    assert answer.headers["content-type"] == kind
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["frame-id"] == "0" * 32 and answer.headers["frame-number"] == "0"


@pytest.mark.parametrize(("status", "code"), [("dropped", 409), ("given-up", 410)])
def test_what_was_not_delivered_is_gone(here: World, status: str, code: int) -> None:
    asked = here.later("/frame?wait=preview", png())
    wait_for(lambda: here.link.sent)
    here.link.row(0, status)
    answer = asked.result()
    assert answer.status == code and answer.json["frame_id"] == "0" * 32
    assert f"({status}): because." in answer.error
    assert here.door.refused == {"undelivered": 1}


def test_a_wait_has_an_end_and_the_frame_goes_on(here: World) -> None:
    answer = here.ask("/frame?wait=refined&timeout=2", png())
    assert answer.status == 504 and "not here after 2 s" in answer.error
    assert answer.json["frame_id"] == "0" * 32
    here.link.row(0)  # its futures are whole: a wait that was given up cancels nothing
    assert here.link.sent[0].row(0)["status"] == "delivered"
    assert here.door.refused == {"late": 1}


@pytest.mark.parametrize("upto", ["none", "preview"])
def test_pictures_that_do_not_come_back_are_told_before_anything_is_sent(upto: Any) -> None:
    with world(FakeLink(upto)) as here:
        answer = here.ask("/frame?wait=refined", png())
        assert answer.status == 400 and "set tx.returns=refined" in answer.error
        assert not here.link.offered


# Mistakes


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("snr_db=loud", "'loud' is not a number"),
        ("snr_db=nan", "not a number"),
        ("snr=5", "'snr' is nothing that can be asked"),
        ("cbr=1/96&cbr=1/48", "twice"),
        ("wait=forever", "use one of accepted, row, preview, refined"),
        ("timeout=0", "more than 0"),
        ("timeout=601", "at most 600"),
        ("name=a%00b", "printable"),
        ("name=" + "x" * 201, "at most 200"),
    ],
)
def test_a_query_that_is_wrong_is_said(here: World, query: str, word: str) -> None:
    answer = here.ask(f"/frame?{query}", png())
    assert answer.status == 400 and word in answer.error
    assert here.door.refused == {"setting": 1} and not here.link.offered


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (SettingsError("an SNR of 1000 dB; give -30 to 60."), 400, "setting"),
        (LinkClosed("the link is closed: it takes no frames."), 503, "link"),
        (StorageError("the disk is full; make room."), 503, "link"),
        (RuntimeError("secret"), 500, "defect"),
    ],
)
def test_what_the_link_says_is_answered(
    here: World, error: Exception, code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    here.link.error = error
    answer = here.ask(body=png())
    assert (answer.status, here.door.refused) == (code, {reason: 1})
    assert ("retry-after" in answer.headers) == (code == 503)
    if code == 500:
        assert "secret" not in answer.error and "secret" in caplog.text
    else:
        assert answer.error == str(error)


def test_a_link_that_takes_nothing_is_said(here: World) -> None:
    here.link.room = FakeLink(room=0).room
    answer = here.ask("/frame?timeout=0.05", png())
    assert answer.status == 503 and "took no frame within 0.05 s" in answer.error
    assert answer.headers["retry-after"] == "1"
    # Behind one that waits for longer, another gives up when it said it would.
    first = here.later("/frame?timeout=60", png())
    wait_for(lambda: max(here.link.offered, default=0) > 1)
    offered = len(here.link.offered)  # the one before may have been late before it was offered
    assert here.ask("/frame?timeout=0.05", png()).status == 503
    here.link.room.release()
    assert first.result().status == 202
    assert len(here.link.offered) == offered and here.door.refused == {"link": 2}


def test_other_addresses_and_methods_are_refused(here: World) -> None:
    assert here.ask("/docs", method="GET").status == 404
    assert here.ask("/frame/", png()).status == 404
    answer = here.ask("/frame", method="GET")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert here.ask("/", b"", "POST").status == 405
    assert here.door.refused == {"path": 2, "method": 2}


def test_a_picture_that_takes_long_to_decode_is_not_sent_too_late(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return decode_image(*arguments)

    monkeypatch.setattr("tx.door.giver.decode_image", slow)
    monkeypatch.setattr("tx.door.answer.CLOSE_S", 0.05)
    answer = here.ask("/frame?timeout=0.05", png())
    assert answer.status == 503 and "took no frame within 0.05 s" in answer.error
    go_on.set()
    assert here.ask(body=png(1)).json["number"] == 0
    assert begun.is_set() and len(here.link.offered) == 1


# Opening and closing


def open_at(address: str, **given: Any) -> Door:
    made = Door(cast(Link, FakeLink()), address, **given)
    made.start()
    made.close()
    return made


@pytest.mark.parametrize(
    "address",
    ["", "8080", "127.0.0.1", ":8080", "127.0.0.1:x", "127.0.0.1:99999", "http://127.0.0.1:80",
     "u@127.0.0.1:80", "127.0.0.1:80/x", "::1:80", "[::1"],
)  # fmt: skip
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(AddressError, match="is not an address for the door") as error:
        open_at(address)
    sentence(error)


def test_a_busy_port_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AddressError, match="in use") as error:
            open_at(f"127.0.0.1:{port}")
    sentence(error)
    assert open_at(f"127.0.0.1:{port}").url == f"http://127.0.0.1:{port}"


def test_a_host_that_is_not_known_is_said() -> None:
    with pytest.raises(AddressError, match="cannot be opened") as error:
        open_at("no-such-host.invalid:8080")
    sentence(error)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_where_others_can_come_in_a_token_is_wanted(host: str) -> None:
    address = f"{host}:{free_ports(1)[0]}"
    with pytest.raises(AddressError, match="has no token; give it one") as error:
        open_at(address)
    sentence(error)
    if host == "0.0.0.0":
        assert open_at(address, token="secret").url


@pytest.mark.parametrize("token", ["two words", "a\nb", "é"])
def test_a_token_that_no_header_can_carry_is_said(token: str) -> None:
    with pytest.raises(SettingsError, match="token") as error:
        open_at("127.0.0.1:1", token=token)
    sentence(error)


def test_without_its_packages_the_door_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"diffjscc\[live\]") as error:
        open_at("127.0.0.1:1")
    assert error.value.exit_code == 9
    sentence(error)


def test_closing_answers_whoever_waits(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with world() as here:
        rows = [here.later("/frame?wait=row", png(i)) for i in range(3)]
        wait_for(lambda: len(here.link.sent) == 3)
        here.link.room = FakeLink(room=0).room
        offered = here.later(body=png())
        wait_for(lambda: len(here.link.offered) == 4)
        behind = here.later(body=png())
        slow = here.connect(b"POST /frame HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        silent = here.connect()
        wait_for(lambda: here.status()["requests"] == 6)
        here.door.close()
        here.door.close()
        for answer in [each.result() for each in (*rows, offered, behind)]:
            assert answer.status == 503 and "the door closes" in answer.error
        assert "may be sent, or not" in offered.result().error
        assert "this frame is not sent" in behind.result().error
        for connection in (slow, silent):
            connection.close()
        with pytest.raises(ConnectionError):
            here.ask("/", method="GET")
        here.link.room.release()
        for number in range(3):
            here.link.row(number)
    assert len(here.link.offered) == 4
    assert "the door is open at" in caplog.text and "the door refused 6 closing" in caplog.text
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


def test_a_door_that_was_not_opened_closes() -> None:
    made = Door(cast(Link, FakeLink()), "127.0.0.1:1")
    made.close()
    assert (made.url, made.refused) == ("", {})


def test_importing_tx_loads_no_server() -> None:
    code = (
        "import sys, tx.door, tx.link, tx.live;"
        "print(sorted({'starlette', 'uvicorn', 'python_multipart', 'torch'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# A real link


def test_over_a_channel_and_a_receiver() -> None:
    given = {"codec": "null", "rx.reference": "none", "rx.save_images": False}
    with (
        simulator.local(given, returns="preview", durable=False) as client,
        world(client._link) as here,
    ):
        row = here.ask("/frame?wait=row&snr_db=3&name=one", png()).json
        assert (row["status"], row["image"], row["snr_db"]) == ("delivered", "one", 3.0)
        answer = here.ask("/frame?wait=preview", png())
        assert answer.status == 200 and answer.headers["frame-number"] == "1"
        assert decode_image(answer.body, "it").pixels.shape == (*SIZE, 3)
        file = io.BytesIO()
        Image.new("LA", SIZE[::-1]).save(file, "PNG")
        row = here.ask("/frame?wait=row", file.getvalue()).json
        assert row["notes"] == "greyscale to RGB; alpha composited over white"
        answer = here.ask("/frame?cbr=nothing", png())
        assert answer.status == 400 and "not a bandwidth ratio" in answer.error
        assert here.status()["frames"] == 3
