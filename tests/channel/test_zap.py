"""The ZAP handler decides who is admitted, and nobody gets in while it does not answer."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq
from gate_world import FAILED, Bench, Client, hello, new_context
from helpers import wait_for

from simulator.children import free_ports
from simulator.link import constants as c
from simulator.link import keys, sockets
from simulator.link import messages as m
from simulator.link.zap import ENDPOINT, VERSION, ZapHandler


def locked(context: zmq.Context[Any], pair: keys.KeyPair) -> tuple[zmq.Socket[bytes], str]:
    endpoint = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    return sockets.door(context, endpoint, sockets.Lock("tx", pair.secret)), endpoint


def gone(context: zmq.Context[Any]) -> zmq.Socket[bytes]:
    handler = context.socket(zmq.REP)
    handler.bind(ENDPOINT)
    handler.close(0)
    return handler


def deaf(context: zmq.Context[Any]) -> zmq.Socket[bytes]:
    handler = context.socket(zmq.REP)
    handler.bind(ENDPOINT)
    return handler


HANDLERS: dict[str, Callable[[zmq.Context[Any]], Any]] = {
    "none": lambda context: None,
    "gone": gone,
    "deaf": deaf,
}


@pytest.mark.parametrize("handler", HANDLERS)
def test_without_an_answering_handler_nobody_gets_in(
    handler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c, "HANDSHAKE_MS", 300)
    pair, own = keys.make_pair("channel", "channel"), keys.make_pair("tx", "board")
    with new_context() as context:
        zap = HANDLERS[handler](context)
        door, endpoint = locked(context, pair)
        with Client(endpoint, sockets.Key(own.public, own.secret, pair.public)) as client:
            client.say(hello("tx", "board"))

            def failed_twice() -> bool:
                client.saw()
                return client.events.count(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL) > 1

            wait_for(failed_twice)
            assert not door.poll(0) and not client.saw(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        if zap is not None:
            zap.close(0)


def test_it_is_the_enforced_domain_that_keeps_them_out() -> None:
    """Why ``door`` sets ZAP_ENFORCE_DOMAIN: without it any key gets in where no handler is."""
    pair, own = keys.make_pair("channel", "channel"), keys.make_pair("tx", "board")
    with new_context() as context:
        door = context.socket(zmq.ROUTER)
        door.setsockopt(zmq.CURVE_SERVER, 1)
        door.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode())
        door.setsockopt(zmq.ZAP_DOMAIN, b"tx")
        endpoint = f"tcp://127.0.0.1:{door.bind_to_random_port('tcp://127.0.0.1')}"
        with Client(endpoint, sockets.Key(own.public, own.secret, pair.public)) as client:
            client.say(hello("tx", "board"))
            assert door.poll(10_000)
        door.close(0)


@pytest.mark.parametrize("reply", [[b"1.0"], [b"2.0", b"1", b"200", b"", b"", b""],
                                   [b"1.0", b"?", b"200", b"", b"", b""],
                                   [b"1.0", b"1", b"2000", b"", b"", b""]])  # fmt: skip
def test_a_handler_that_talks_nonsense_lets_nobody_in(reply: list[bytes]) -> None:
    pair, own = keys.make_pair("channel", "channel"), keys.make_pair("tx", "board")
    with new_context() as context:
        zap = deaf(context)
        door, endpoint = locked(context, pair)
        with Client(endpoint, sockets.Key(own.public, own.secret, pair.public)) as client:
            client.say(hello("tx", "board"))

            def answered() -> bool:
                if zap.poll(10):
                    zap.recv_multipart()
                    zap.send_multipart(reply)
                return client.saw(*FAILED)

            wait_for(answered)
            assert not door.poll(0) and not client.saw(zmq.EVENT_HANDSHAKE_SUCCEEDED)


def test_a_stuck_channel_keeps_everybody_out_until_it_goes_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    try:
        with Client(bench.endpoints["front"], bench.key("tx", "board")) as client:
            client.say(hello("tx", "board"))
            wait_for(lambda: client.saw(zmq.EVENT_CONNECTED))
            time.sleep(0.3)
            assert not client.saw(zmq.EVENT_HANDSHAKE_SUCCEEDED)
            bench.start()
            assert isinstance(client.hear(), m.Welcome)
    finally:
        bench.close()


def test_decisions_of_the_handler() -> None:
    asked: list[tuple[str, str]] = []

    def admit(domain: str, public: str, address: str) -> bool:
        asked.append((domain, address))
        return domain == "tx"

    with new_context() as context:
        zap = ZapHandler(context, admit)
        base = [VERSION, b"7", b"tx", b"10.0.0.1", b"", b"CURVE", bytes(32)]
        yes = zap.decide(base)
        assert yes[:3] == [VERSION, b"7", b"200"] and len(yes[4]) == 40
        assert asked == [("tx", "10.0.0.1")]
        for place, value in ((0, b"2.0"), (2, b"rx"), (2, b"\xff"), (5, b"NULL"), (5, b"PLAIN"),
                             (6, bytes(31)), (6, b"")):  # fmt: skip
            wrong = [*base]
            wrong[place] = value
            assert zap.decide(wrong)[1:3] == [b"7", b"400"], wrong
        assert zap.decide([])[2] == zap.decide(base[:6])[2] == zap.decide([*base, b""])[2] == b"400"
        assert len(asked) == 3  # what is no CURVE key of 32 bytes is not even asked about
        zap.close()
