"""The door before clients that mean no good, or do it badly."""

from __future__ import annotations

import gc
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import suppress

import pytest
from door_world import FakeLink, World, everything, png, world
from helpers import wait_for
from test_door import form

HEAD = b"POST /frame HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def here() -> Iterator[World]:
    with world() as made:
        yield made
        assert made.ask(body=png()).status == 202, "it still works"


def test_a_body_that_is_too_large_is_refused_by_what_it_says() -> None:
    with world(max_bytes=10_000) as here:
        answer = here.ask(body=bytes(1_000_000))
        assert answer.status == 413 and "10000 bytes" in answer.error
        # A client that sends Expect: 100-continue is refused before it sends its body.
        head = HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"
        assert everything(here.connect(head)).startswith(b"HTTP/1.1 413 ")
        assert here.door.refused == {"size": 2}


def test_a_body_that_is_too_large_is_refused_while_it_comes() -> None:
    with world(max_bytes=10_000) as here:
        pieces = (bytes(5000) for _ in range(100))
        assert here.ask(body=pieces).status == 413
        assert here.ask(body=(bytes(5000) for _ in range(2))).status == 400  # it is no image
        assert here.door.refused == {"size": 1, "image": 1}


def test_bodies_share_what_memory_there_is() -> None:
    with world(max_bytes=100_000) as here:
        head = HEAD + b"Content-Length: 100000\r\n\r\n" + bytes(90_000)
        slow = [here.connect(head) for _ in range(2)]
        wait_for(lambda: here.status()["requests"] == 2)
        wait_for(lambda: here.ask(body=bytes(50_000)).status == 503)
        assert here.door.refused["memory"] == 1
        for connection in slow:
            connection.close()
        wait_for(lambda: here.door.refused.get("gone") == 2)
        assert here.ask(body=png()).status == 202


def test_headers_that_do_not_come_are_not_waited_for() -> None:
    with world(headers_s=0.1) as here:
        for first in (b"", b"POST /fra", HEAD):
            said = everything(here.connect(first))
            assert said.startswith(b"HTTP/1.1 408 ") and b"not here within 0.1 s." in said
        assert here.door.refused == {"slow": 3}


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with world(body_s=0.1) as here:
        said = everything(here.connect(HEAD + b"Content-Length: 9\r\n\r\nabc"))
        assert said.startswith(b"HTTP/1.1 408 ") and b"the body was not here within" in said
        assert here.door.refused == {"slow": 1}


def test_an_answer_that_is_not_read_is_not_kept() -> None:
    with world(answer_s=0.1) as here:
        head = b"POST /frame?wait=preview HTTP/1.1\r\nHost: localhost\r\n"
        body = png()
        deaf = here.connect(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        wait_for(lambda: here.link.sent)
        here.link.picture(0, "preview", bytes(50_000_000))
        wait_for(lambda: here.status()["requests"] == 0)
        with pytest.raises(ConnectionError):
            wait_for(lambda: not deaf.send(b"x"))
        deaf.close()


def test_a_token_is_wanted_of_everybody() -> None:
    with world(token="secret") as here:
        for shown in (None, "secret", "Bearer", "Bearer wrong", "Basic secret", "Bearer s\xe9cret"):
            headers = {} if shown is None else {"Authorization": shown}
            answer = here.ask(body=png(), headers=headers)
            assert answer.status == 401 and "Authorization: Bearer TOKEN" in answer.error
            assert answer.headers["www-authenticate"] == "Bearer"
        assert here.ask("/", method="GET").status == 401
        headers = {"Authorization": "bearer secret"}
        assert here.ask("/", method="GET", headers=headers).json["refused"] == {"token": 7}
        assert here.ask(body=png(), headers=headers).status == 202
        assert "secret" not in repr(vars(here.door._serving.app))  # type: ignore[union-attr]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", ""])
def test_a_page_of_another_site_is_refused(here: World, origin: str) -> None:
    assert here.ask(body=png(), headers={"Origin": origin}).status == 403
    own = {"Origin": f"http://127.0.0.1:{here.port}"}
    assert here.ask(body=png(), headers=own).status == 202
    assert here.door.refused == {"origin": 1}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1", "[::2]", "["],
)
def test_a_name_that_was_turned_here_is_refused(here: World, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    answer = here.ask(body=png(), headers=headers)
    assert answer.status == 403 and "its own machine" in answer.error
    assert here.door.refused == {"host": 1}
    for own in ("localhost", f"LOCALHOST:{here.port}", "127.0.0.1", "[::1]:80"):
        assert here.ask("/", method="GET", headers={"Host": own}).status == 200


def test_where_others_come_in_the_door_has_any_name() -> None:
    with world(host="0.0.0.0", token="secret") as here:
        for host in ("door.example:8080", "[", "a b"):
            headers = {"Host": host, "Authorization": "Bearer secret"}
            assert here.ask("/", method="GET", headers=headers).status == 200
        headers |= {"Origin": "http://evil.example"}
        assert here.ask("/", method="GET", headers=headers).status == 403
        assert here.ask("/", method="GET").status == 401


def bomb(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and has next to nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "is empty"),
        (b"garbage" * 1000, "not an image of a kind"),
        (png()[:200], "cannot be decoded"),
        (bomb(60_000, 60_000), "more"),
        (bomb(2**31 - 1, 2**31 - 1), "more"),
        (bomb(9000, 9000), "81000000 pixels, more than the limit of 64000000"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image of a kind"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image of a kind"),
    ],
)
def test_what_is_no_image_is_refused(here: World, body: bytes, word: str) -> None:
    answer = here.ask("/frame?name=it", body)
    assert answer.status == 400 and word in answer.error and answer.error.startswith("it ")
    assert here.door.refused == {"image": 1} and not here.link.offered


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Content-Type": "application/json"}, 415),
        ({"Content-Type": "text/html"}, 415),
        ({"Content-Type": "multipart/mixed; boundary=edge"}, 415),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "multipart/form-data"}, 400),
        ({"Content-Type": "multipart/form-data; boundary=other"}, 400),
    ],
)
def test_other_kinds_of_body_are_refused(here: World, headers: dict[str, str], code: int) -> None:
    answer = here.ask(body=form(png())[0], headers=headers)
    assert answer.status == code and answer.error


def test_forms_with_other_fields_are_refused(here: World) -> None:
    body, headers = form(png(), field="picture")
    answer = here.ask(body=body, headers=headers)
    assert answer.status == 400 and "no file in a field 'image'" in answer.error
    body = form(png())[0].removesuffix(b"--edge--\r\n") + form(png())[0]
    assert here.ask(body=body, headers=headers).status == 400
    field = b'--edge\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n'
    assert here.ask(body=field * 1000 + form(png())[0], headers=headers).status == 400
    assert here.ask(body=form(png(), "a\x01b")[0], headers=headers).status == 400


def test_what_is_no_http_is_refused(here: World) -> None:
    for first in (b"\x16\x03\x01 TLS?\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
        assert everything(here.connect(first)).startswith(b"HTTP/1.1 400 ")
    twice = HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    assert everything(here.connect(twice)).startswith(b"HTTP/1.1 400 ")
    with suppress(ConnectionError):  # over what it did not read
        everything(here.connect(b"x" * 200_000))
    assert here.door.refused["http"] == 4


def test_one_connection_is_one_request(here: World) -> None:
    two = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2
    assert everything(here.connect(two)).count(b"HTTP/1.1 200 ") == 1


def test_more_at_once_than_there_is_room_for_are_refused() -> None:
    with world(max_waiting=3) as here:
        rows = [here.later("/frame?wait=row", png()) for _ in range(3)]
        wait_for(lambda: len(here.link.sent) == 3)
        answers = [here.later(body=png(i)) for i in range(10)]
        for answer in [each.result() for each in answers]:
            assert answer.status == 429 and answer.headers["retry-after"] == "1"
            assert answer.error
        assert here.door.refused == {"busy": 10}
        for number in range(3):
            here.link.row(number)
        assert [each.result().status for each in rows] == [200] * 3
        assert here.ask(body=png()).status == 202


def test_more_connections_than_there_is_room_for_are_refused() -> None:
    with world(max_waiting=1) as here:
        silent = [here.connect() for _ in range(18)]
        said = everything(here.connect())
        assert said.startswith(b"HTTP/1.1 503 ") and b"too many connections" in said
        for connection in silent:
            connection.close()
        wait_for(
            lambda: (
                b" 200 " in everything(here.connect(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"))
            )
        )
        assert here.door.refused["connections"] >= 1


def test_who_goes_away_leaves_room_for_others() -> None:
    with world(FakeLink(room=1), max_waiting=2) as here:
        body = png()
        head = b"POST /frame?wait=row HTTP/1.1\r\nHost: localhost\r\n"
        request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        waiting = here.connect(request)
        wait_for(lambda: here.link.sent)
        offered = here.connect(request)
        wait_for(lambda: len(here.link.offered) == 2)
        assert here.ask(body=png()).status == 429
        waiting.close()
        offered.close()
        wait_for(lambda: here.status()["requests"] == 0)
        behind = here.connect(request)  # the one that left is still being offered
        wait_for(lambda: here.status()["requests"] == 1)
        behind.close()
        wait_for(lambda: here.door.refused.get("gone") == 3)
        here.link.room.release(2)
        assert here.ask(body=png()).status == 202
        assert len(here.link.offered) == 3, "what nobody waited for was not sent"
        here.link.row(0)


def held() -> int:
    """Bytes of Python's objects. Resident memory says more of what other tests have left behind."""
    return tracemalloc.get_traced_memory()[0]


def test_what_was_refused_is_not_kept() -> None:
    """Not even until the garbage collector comes, which counts objects and not their size."""
    size = 20_000_000
    with world(max_bytes=size) as here:
        bodies = [bytes(size), form(bytes(size - 1000))[0]]
        tracemalloc.start()
        before = held()
        gc.disable()
        try:
            for _ in range(5):
                assert here.ask(body=bodies[0]).status == 400
                assert here.ask(body=bodies[1], headers=form(b"")[1]).status == 400
                assert here.ask(body=(bytes(size // 4) for _ in range(5))).status == 413
            for number in range(5):
                part = here.connect(HEAD + b"Content-Length: %d\r\n\r\n" % size + bodies[0][:-1])
                part.close()
                wait_for(lambda left=number: here.door.refused.get("gone", 0) > left)
            wait_for(lambda: held() - before < size // 2)  # the last one may just be ending
        finally:
            gc.enable()
            tracemalloc.stop()
