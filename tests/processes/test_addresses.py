"""Addresses that people give: IPv6, names, and why nothing comes of one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
from helpers import cli, make_photographs, sentence, start_cli, wait_for

from simulator import process
from simulator.children import free_ports
from simulator.connection import Connection
from simulator.errors import AddressError
from simulator.link import constants as c
from simulator.link import sockets
from simulator.link.clock import monotonic
from simulator.link.handshake import Handshakes


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as made:
            made.bind(("::1", 0))
        return True
    except OSError:
        return False


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@contextmanager
def opened(endpoint: str) -> Iterator[tuple[zmq.Context[Any], zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        door = sockets.door(context, endpoint)
        try:
            yield context, door
        finally:
            door.close(0)


def reaches(bound: str, connected: str) -> bool:
    with opened(bound) as (context, door):
        client = sockets.dealer(context)
        sockets.connect(client, connected)
        sockets.send(client, [b"hello"])
        heard = bool(door.poll(3000))
        client.close(0)
    return heard


@ipv6
@pytest.mark.parametrize("bound", ["tcp://[::1]:{}", "tcp://[::]:{}", "tcp://*:{}"])
def test_ipv6_is_bound_and_connected_to(bound: str) -> None:
    (port,) = free_ports(1)
    assert reaches(bound.format(port), f"tcp://[::1]:{port}")


@pytest.mark.parametrize("bound", ["tcp://127.0.0.1:{}", "tcp://*:{}", "tcp://0.0.0.0:{}"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_ipv4_works_as_ever(bound: str, host: str) -> None:
    (port,) = free_ports(1)
    assert reaches(bound.format(port), f"tcp://{host}:{port}")


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        ([socket.AF_INET6], True),
        ([socket.AF_INET6, socket.AF_INET], False),
        ([socket.AF_INET], False),
        ([], False),
    ],
)
def test_a_name_with_ipv6_alone_needs_it(
    monkeypatch: pytest.MonkeyPatch, families: list[int], expected: bool
) -> None:
    found = [(family, 1, 6, "", ()) for family in families]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: found)
    assert sockets.speaks_ipv6("board.example") is expected


@ipv6
def test_a_run_over_ipv6(tmp_path: Path) -> None:
    front, back = (f"tcp://[::1]:{port}" for port in free_ports(2))
    photos = make_photographs(tmp_path / "photos", 1, (64, 64))
    channel = start_cli("channel", "--set", f"channel.front={front}",
                        "--set", f"channel.back={back}")  # fmt: skip
    null = ("--set", "codec=null")
    rx = start_cli("rx", *null, "--reference", "none", "--set", f"rx.connect={back}",
                   "--out", tmp_path / "rx")  # fmt: skip
    try:
        to = ("--set", f"tx.connect={front}", "--out", tmp_path / "tx")
        result = cli("tx", photos[0], *null, *to)
    finally:
        for process in (rx, channel):
            process.terminate()
            process.communicate(timeout=30)
    assert result.returncode == 0, result.stderr


WRONG = ["", "5550", "127.0.0.1:5550", "http://127.0.0.1:5550", "tcp://127.0.0.1", "tcp://::1:5550",
         "tcp://[::1]", "tcp://[::1:5550", "tcp://a:b", "tcp://:5550", "udp://a:1"]  # fmt: skip


@pytest.mark.parametrize("endpoint", WRONG)
def test_what_is_no_address_is_refused_by_every_process(endpoint: str) -> None:
    for role in ("tx", "rx"):
        with pytest.raises(AddressError, match="is not an address such as"):
            Connection(role, role, endpoint, "")  # type: ignore[arg-type]
    with (
        zmq.Context() as context,
        pytest.raises(sockets.EndpointError, match="is not an address"),
    ):
        sockets.door(context, endpoint)


# What may be bound


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:5550", "tcp://[::1]:5550", "tcp://localhost:1", "ipc:///tmp/a:b"]
)
def test_loopback_may_be_bound(endpoint: str) -> None:
    assert not process.check_bind(endpoint, keyed=False, insecure=False)


@pytest.mark.parametrize("endpoint", ["tcp://*:5550", "tcp://0.0.0.0:5550", "tcp://eth0:5550"])
def test_other_addresses_need_keys_or_insecure(endpoint: str) -> None:
    assert process.check_bind(endpoint, keyed=False, insecure=True)
    assert not process.check_bind(endpoint, keyed=True, insecure=False)
    assert not process.check_bind(endpoint, keyed=True, insecure=True)
    with pytest.raises(AddressError, match=r"keys init.*--insecure") as caught:
        process.check_bind(endpoint, keyed=False, insecure=False)
    sentence(caught)


@pytest.mark.parametrize(
    "endpoint",
    ["", "127.0.0.1:5550", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:0", "tcp://:5550",
     "tcp://127.0.0.1:99999", "tcp://127.0.0.1:port", "udp://127.0.0.1:5550", "tcp://[::1:5550"],
)  # fmt: skip
def test_what_is_no_address_is_refused(endpoint: str) -> None:
    for keyed in (False, True):
        with pytest.raises(AddressError, match="is not an address") as caught:
            process.check_bind(endpoint, keyed, insecure=True)
        sentence(caught)


# Why nothing arrives


def problem_at(endpoint: str, words: str) -> None:
    made = Connection("tx", "tx", endpoint, "")

    def told() -> bool:
        made.look(monotonic())
        return words in (made.problem or "")

    try:
        wait_for(told, timeout=20)
        assert endpoint in (made.problem or "")
    finally:
        made.close()


def test_a_name_that_is_not_known() -> None:
    problem_at("tcp://no-such-host.invalid:5550", "is not known to this machine")


def test_a_port_where_nobody_listens() -> None:
    (port,) = free_ports(1)
    problem_at(f"tcp://127.0.0.1:{port}", "nobody listens at")


def test_a_firewall_that_drops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue of connections answers as little as a filtered port."""
    monkeypatch.setattr(c, "UNANSWERED_S", 0.3)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
            waiting.append(one)
        try:
            problem_at(f"tcp://127.0.0.1:{deaf.getsockname()[1]}", "neither accepts nor refuses")
        finally:
            for one in waiting:
                one.close()


def test_each_problem_gives_way_to_the_next() -> None:
    one = Handshakes("tcp://there:1", False)

    def at(now: float, *kinds: int) -> str:
        for kind in kinds:
            one.event(kind, 0, now)
        one.check(now)
        return one.problem or ""

    assert at(0.0) == ""
    assert "is not known" in at(0.1, zmq.EVENT_CONNECT_RETRIED)
    assert "is not known" in at(1.0, zmq.EVENT_CONNECT_DELAYED)
    assert "neither accepts" in at(1.0 + c.UNANSWERED_S)
    assert "neither accepts" in at(90.0, zmq.EVENT_CLOSED, zmq.EVENT_CONNECT_RETRIED)
    refused = (zmq.EVENT_CONNECT_DELAYED, zmq.EVENT_CLOSED, zmq.EVENT_CONNECT_RETRIED)
    assert "nobody listens" in at(91.0, *refused)
    assert at(92.0, zmq.EVENT_CONNECT_DELAYED, zmq.EVENT_CONNECTED) == ""
    assert at(92.1, zmq.EVENT_HANDSHAKE_SUCCEEDED) == ""
    # The channel is stopped: what was connected is no more.
    assert "nobody listens" in at(99.0, zmq.EVENT_CONNECT_RETRIED, *refused)


def test_a_process_says_it_while_it_waits(tmp_path: Path) -> None:
    (photo,) = make_photographs(tmp_path / "photos", 1, (64, 64))
    (port,) = free_ports(1)
    tx = start_cli("tx", photo, "--set", f"tx.connect=tcp://127.0.0.1:{port}",
                   "--out", tmp_path / "tx")  # fmt: skip
    try:
        assert tx.stdout is not None
        for line in tx.stdout:
            if "nobody listens at" in line:
                break
        else:
            pytest.fail("not a word")
    finally:
        tx.terminate()
        tx.communicate(timeout=30)
