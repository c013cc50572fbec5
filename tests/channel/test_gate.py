"""Doors with keys, over real sockets: who stays out, and that nothing of theirs gets in."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
import zmq
from gate_world import FAILED, Bench, Client, a_key, hello, new_context, welcomed
from helpers import wait_for

from channel.broker import Broker
from channel.gate import LOOK_S
from channel.peers import Side
from simulator.children import free_ports
from simulator.link import keyfolder, keys, sockets
from simulator.link import messages as m
from simulator.settings import ChannelSettings


def stays_out(bench: Bench, side: Side, key: sockets.Key | None, **options: Any) -> Client:
    """It speaks at once; its handshake fails, nothing is heard of it, and others still get in."""
    client = Client(bench.endpoints[side], key, **options)
    try:
        for _ in range(3):
            client.say(hello("tx" if side == "front" else "rx", "board"))
        wait_for(lambda: client.saw(*FAILED))
        welcomed(bench, "front", bench.key("tx", "board"), "board")
        welcomed(bench, "back", bench.key("rx", "gpu"), "gpu")
        assert not client.saw(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        assert not client.socket.poll(0)
        assert len(bench.heard) == 2  # of those two, and nobody else
    finally:
        client.close()
    return client


@pytest.mark.parametrize("side", ["front", "back"])
def test_a_stranger_stays_out(bench: Bench, side: Side) -> None:
    client = stays_out(bench, side, a_key(bench))
    assert zmq.EVENT_HANDSHAKE_FAILED_AUTH in client.events
    assert bench.refused["key"] >= 1


def test_a_key_opens_its_own_door_only(bench: Bench) -> None:
    stays_out(bench, "back", bench.key("tx", "board"))
    bench.heard.clear()
    stays_out(bench, "front", bench.key("rx", "gpu"))


def test_a_revoked_key_stays_out(bench: Bench) -> None:
    bench.make("tx", "second")
    keyfolder.add(bench.keys, "tx", bench.folder / "tx" / "second" / "second.pub")
    welcomed(bench, "front", bench.key("tx", "second"), "second")
    keyfolder.revoke(bench.keys, "tx", "second")
    bench.heard.clear()
    stays_out(bench, "front", bench.key("tx", "second"))


@pytest.mark.parametrize("options", [{}, {"PLAIN_USERNAME": b"tx", "PLAIN_PASSWORD": b"tx"}])
def test_without_a_key_nobody_gets_in(bench: Bench, options: dict[str, Any]) -> None:
    stays_out(bench, "front", None, **options)


def test_a_wrong_server_key_tells_the_server_nothing(bench: Bench) -> None:
    own = bench.key("tx", "board")
    other = keys.make_pair("channel", "channel").public
    stays_out(bench, "front", sockets.Key(own.public, own.secret, other))
    assert "key" not in bench.refused  # libzmq itself could not even read it


def test_the_stolen_public_half_is_not_enough(bench: Bench) -> None:
    own = bench.key("tx", "board")
    stays_out(bench, "front", sockets.Key(own.public, a_key(bench).secret, bench.server))


def test_a_name_is_its_key_s(bench: Bench) -> None:
    with Client(bench.endpoints["front"], bench.key("tx", "board")) as client:
        client.say(hello("tx", "other"))
        answer = client.hear()
    assert isinstance(answer, m.Reject) and answer.code == "name"
    assert "--set tx.name=board" in answer.reason


# Revoked while connected


def test_who_is_revoked_is_told_forgotten_and_cut_off(bench: Bench) -> None:
    with Client(bench.endpoints["front"], bench.key("tx", "board")) as client:
        client.say(hello("tx", "board"))
        assert isinstance(client.hear(), m.Welcome)
        keyfolder.revoke(bench.keys, "tx", "board")
        answer = client.hear()
        assert isinstance(answer, m.Reject) and answer.code == "revoked"
        assert "'board'" in answer.reason and not bench.service.broker.peers["front"]
        bench.heard.clear()
        client.say(hello("tx", "board"))  # one that does not care
        wait_for(lambda: client.saw(zmq.EVENT_DISCONNECTED))
        wait_for(lambda: client.saw(zmq.EVENT_HANDSHAKE_FAILED_AUTH))
        assert not bench.heard and bench.refused["revoked"] >= 2


def test_what_a_revoked_key_has_sent_before_is_dropped_too(tmp_path: Path) -> None:
    """It waits in the door's queue: the key is looked at when a message is taken from there."""
    bench = Bench(tmp_path)
    try:
        gate, door = bench.service._gate, bench.service._doors["front"]
        assert gate is not None
        with Client(bench.endpoints["front"], bench.key("tx", "board")) as client:
            for _ in range(5):
                client.say(hello("tx", "board"))

            def connected() -> bool:
                gate.zap.answer()
                return bool(door.poll(10))

            wait_for(connected)
            keyfolder.revoke(bench.keys, "tx", "board")
            time.sleep(LOOK_S)
            bench.start()
            wait_for(lambda: client.saw(zmq.EVENT_HANDSHAKE_FAILED_AUTH))
            assert not bench.heard and bench.refused["revoked"] >= 1
    finally:
        bench.close()


def test_the_others_go_on_when_one_is_revoked(bench: Bench) -> None:
    bench.make("tx", "second")
    keyfolder.add(bench.keys, "tx", bench.folder / "tx" / "second" / "second.pub")
    with Client(bench.endpoints["front"], bench.key("tx", "board")) as board:
        board.say(hello("tx", "board"))
        assert isinstance(board.hear(), m.Welcome)
        with Client(bench.endpoints["front"], bench.key("tx", "second")) as second:
            second.say(hello("tx", "second"))
            assert isinstance(second.hear(), m.Welcome)
            keyfolder.revoke(bench.keys, "tx", "second")
            assert isinstance(second.hear(), m.Reject)
            second.say(m.Heartbeat(times=[0.0]))
            wait_for(lambda: second.saw(zmq.EVENT_DISCONNECTED))
        for _ in range(3):
            board.say(m.Heartbeat(times=[1.0]))
            assert isinstance(board.hear(), m.Heartbeat)
        assert not board.saw(zmq.EVENT_DISCONNECTED)


def test_another_key_under_the_name_replaces_the_first(bench: Bench) -> None:
    with Client(bench.endpoints["front"], bench.key("tx", "board")) as first:
        first.say(hello("tx", "board"))
        assert isinstance(first.hear(), m.Welcome)
        pair = keyfolder.init(bench.folder / "new", "tx", "board", bench.keys / "channel.pub")
        keyfolder.revoke(bench.keys, "tx", "board")
        keyfolder.add(bench.keys, "tx", bench.folder / "new" / "board.pub")
        welcomed(bench, "front", sockets.Key(pair.public, pair.secret, bench.server), "board")
        answer = first.hear()
        assert isinstance(answer, m.Reject) and answer.code == "revoked"


def test_who_is_admitted_again_stays(bench: Bench) -> None:
    """Not even a new greeting: it is the same key under the same name."""
    with Client(bench.endpoints["front"], bench.key("tx", "board")) as client:
        client.say(hello("tx", "board"))
        assert isinstance(client.hear(), m.Welcome)
        admitted = bench.keys / "tx" / "board.pub"
        text = admitted.read_text()
        renewed = admitted.with_suffix(".new")
        renewed.write_text(re.sub('added = ".*"', 'added = "later"', text))
        renewed.rename(admitted)
        time.sleep(2 * LOOK_S)
        client.say(m.Heartbeat(times=[0.0]))
        assert isinstance(client.hear(), m.Heartbeat)


def test_a_channel_folder_that_vanishes_admits_nobody(bench: Bench) -> None:
    with Client(bench.endpoints["front"], bench.key("tx", "board")) as client:
        client.say(hello("tx", "board"))
        assert isinstance(client.hear(), m.Welcome)
        (bench.keys / "tx").rename(bench.keys / "away")
        answer = client.hear()
        assert isinstance(answer, m.Reject) and answer.code == "revoked"


def test_the_cut_leaves_alone_what_is_no_connection_of_the_door(tmp_path: Path) -> None:
    with new_context() as context, (tmp_path / "file").open("w") as file:
        door = sockets.door(context, f"tcp://127.0.0.1:{free_ports(1)[0]}")
        for descriptor in (-1, 999_999, file.fileno()):
            sockets.cut(door, sockets.Arrival([], "", descriptor))
        assert not file.closed
        file.write("still there")
        door.close(0)


def test_the_broker_forgets_whom_the_gate_forgets() -> None:
    """Without sockets: the key of a connection, not its identity, is who speaks."""
    sent: list[tuple[bytes, m.Message]] = []

    def send(side: Side, identity: bytes, message: m.Message, parts: tuple[Any, ...]) -> bool:
        sent.append((identity, message))
        return True

    broker = Broker(ChannelSettings(), "epoch", send)
    old, new = (keys.make_pair("tx", "board").half for _ in range(2))
    greeting = m.encode(hello("tx", "board"))
    broker.receive("front", b"i", greeting, 0.0, old)
    assert isinstance(sent[-1][1], m.Welcome)
    beat = m.encode(m.Heartbeat(times=[0.0]))
    broker.receive("front", b"i", beat, 0.0, new)
    assert isinstance(sent[-1][1], m.Nack) and sent[-1][1].code == "say-hello"
    broker.recheck(lambda side, public: old if public == old.public else None)
    assert b"i" in broker.peers["front"]
    broker.recheck(lambda side, public: None)
    assert isinstance(sent[-1][1], m.Reject) and not broker.peers["front"]
