"""Doors with keys, over real sockets: who stays out, and that nothing of theirs gets in."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
from helpers import wait_for

from channel.broker import Broker
from channel.gate import LOOK_S
from channel.peers import Side
from channel.service import ChannelService
from simulator import connection
from simulator.connection import Connection
from simulator.errors import AddressError, KeysError, RejectedError
from simulator.launch import free_ports
from simulator.link import constants as c
from simulator.link import keyfolder, keys, sockets
from simulator.link import messages as m
from simulator.link.clock import monotonic
from simulator.link.handshake import HandshakeError, Handshakes, Monitor
from simulator.link.zap import ENDPOINT, VERSION, ZapHandler
from simulator.process import Stopper
from simulator.settings import ChannelSettings


def hello(role: str, name: str) -> m.Hello:
    fields = {"version": c.VERSION, "role": role, "name": name, "run": "run", "settings": "s"}
    return m.Hello(**(fields | {"codec": "codec"}))


class Bench:
    """A keyed channel in a thread, its key folders, and all that its broker was given."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys = folder, folder / "channel"
        keyfolder.init(self.keys, "channel")
        self.server = keys.read_public(self.keys / "channel.pub").public
        for role, name in (("tx", "board"), ("rx", "gpu")):
            self.make(role, name)  # type: ignore[arg-type]
            keyfolder.add(self.keys, role, folder / role / name / f"{name}.pub")  # type: ignore[arg-type]
        front, back = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
        self.endpoints: dict[Side, str] = {"front": front, "back": back}
        settings = ChannelSettings(front=front, back=back, keys=str(self.keys))
        self.service = ChannelService(settings)
        self.heard: list[tuple[Side, m.Message]] = []
        receive = self.service.broker.receive

        def record(side: Side, identity: bytes, raw: list[Any], *rest: Any) -> None:
            self.heard.append((side, m.decode(raw)[0]))
            receive(side, identity, raw, *rest)

        self.service.broker.receive = record  # type: ignore[method-assign]
        self._stop = Stopper()
        self._thread = threading.Thread(target=self.service.run, args=(self._stop,))

    def make(self, role: keys.Role, name: str) -> keys.KeyPair:
        server = self.keys / "channel.pub"
        return keyfolder.init(self.folder / role / name, role, name, server)

    def key(self, role: str, name: str) -> sockets.Key:
        pair = keys.read_secret(self.folder / role / name / f"{name}.secret")
        return sockets.Key(pair.public, pair.secret, self.server)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.stop()
        if self._thread.ident:
            self._thread.join()
        self.service.close()

    @property
    def refused(self) -> dict[str, int]:
        return self.service.broker.refused


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.start()
    yield bench
    bench.close()


class Client:
    """A DEALER that speaks, and what its monitor saw."""

    def __init__(self, endpoint: str, key: sockets.Key | None, **options: Any) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.socket = sockets.dealer(self.context, key)
        for name, value in options.items():
            self.socket.setsockopt(getattr(zmq, name), value)
        self._events = self.socket.get_monitor_socket()
        self.socket.connect(endpoint)
        self.events: list[int] = []

    def say(self, message: m.Message) -> None:
        sockets.send(self.socket, m.encode(message))

    def hear(self, seconds: float = 10) -> m.Message:
        assert self.socket.poll(int(seconds * 1000)), "heard nothing"
        return m.decode(self.socket.recv_multipart())[0]

    def saw(self, *events: int) -> bool:
        while self._events.poll(0):
            raw = self._events.recv_multipart()
            self.events.append(int.from_bytes(raw[0][:2], "little"))
        return any(event in self.events for event in events)

    def close(self) -> None:
        self.socket.disable_monitor()
        self._events.close(0)
        self.socket.close(0)
        self.context.term()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
)


def welcomed(bench: Bench, side: Side, key: sockets.Key, name: str) -> None:
    with Client(bench.endpoints[side], key) as client:
        client.say(hello("tx" if side == "front" else "rx", name))
        assert isinstance(client.hear(), m.Welcome)


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


def a_key(bench: Bench) -> sockets.Key:
    pair = keys.make_pair("tx", "board")
    return sockets.Key(pair.public, pair.secret, bench.server)


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


# The ZAP handler


@contextmanager
def new_context() -> Iterator[zmq.Context[Any]]:
    """Closed with all its sockets, whatever has failed."""
    context: zmq.Context[Any] = zmq.Context()
    try:
        yield context
    finally:
        context.destroy(0)


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


# What the refused user reads


def connect(bench: Bench, folder: str, name: str = "board", side: Side = "front") -> Connection:
    return Connection("tx", name, bench.endpoints[side], folder)


def said(made: Connection, error: type[Exception]) -> str:
    caught: list[Exception] = []

    def looked() -> bool:
        try:
            made.look(monotonic())
        except error as reason:
            caught.append(reason)
        return bool(caught)

    try:
        wait_for(looked)
    finally:
        made.close()
    message = str(caught[0])
    assert message.endswith(".") and "\n" not in message and "board" in message
    return message


def test_a_refused_key_ends_in_a_sentence(bench: Bench) -> None:
    keyfolder.revoke(bench.keys, "tx", "board")
    message = said(connect(bench, str(bench.folder / "tx" / "board")), RejectedError)
    assert "does not admit its key" in message and "diffjscc keys add" in message


def test_a_client_without_keys_hears_that_they_are_wanted(bench: Bench) -> None:
    assert "wants keys" in said(connect(bench, ""), RejectedError)


def test_a_wrong_server_key_ends_in_a_sentence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c, "HANDSHAKE_PATIENCE_S", 0.5)
    keyfolder.init(bench.folder / "else", "channel")
    folder = bench.folder / "tx" / "board"
    (folder / "channel.pub").write_bytes((bench.folder / "else" / "channel.pub").read_bytes())
    message = said(connect(bench, str(folder)), RejectedError)
    assert "channel.pub" in message


def test_one_that_says_nothing_ends_in_a_sentence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr(c, "HANDSHAKE_MS", 200)
    monkeypatch.setattr(c, "HANDSHAKE_PATIENCE_S", 0.5)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        bench.endpoints["front"] = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        message = said(connect(bench, str(bench.folder / "tx" / "board")), AddressError)
    assert "says nothing" in message


def test_a_channel_without_keys_is_not_spoken_to(tmp_path: Path) -> None:
    keyfolder.init(tmp_path / "c", "channel")
    keyfolder.init(tmp_path / "t", "tx", "board", tmp_path / "c" / "channel.pub")
    with new_context() as context:
        endpoint = f"tcp://127.0.0.1:{free_ports(1)[0]}"
        door = sockets.door(context, endpoint)
        made = Connection("tx", "board", endpoint, str(tmp_path / "t"))
        made.send(hello("tx", "board"), ())
        assert "has no keys" in said(made, RejectedError)
        assert not door.poll(0)
        door.close(0)


@pytest.mark.parametrize("keyed", [True, False])
def test_where_nobody_listens_it_is_said_and_waited(bench: Bench, keyed: bool) -> None:
    bench.endpoints["front"] = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    made = connect(bench, str(bench.folder / "tx" / "board") if keyed else "")
    for _ in range(20):
        made.look(monotonic())
        time.sleep(0.01)
    assert made.problem and "nobody listens at" in made.problem
    made.close()


def test_a_folder_that_is_none_is_the_user_s_mistake(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="cannot read the key folder"):
        connection.read_key(str(tmp_path / "no"), "tx", "tx")
    assert connection.read_key("", "tx", "tx") is None
    with pytest.raises(KeysError, match="not the key folder of a channel"):
        ChannelService(ChannelSettings(keys=str(tmp_path)))


def handshakes(keyed: bool = True) -> Handshakes:
    return Handshakes("tcp://there:1", keyed)


def test_patience_is_for_keys_that_never_worked() -> None:
    broken = (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, 32)
    one = handshakes()
    one.event(*broken, 10.0)
    one.event(*broken, 20.0)
    one.check(10.0 + c.HANDSHAKE_PATIENCE_S)
    assert one.problem and "channel.pub" in one.problem
    with pytest.raises(HandshakeError) as caught:
        one.check(10.5 + c.HANDSHAKE_PATIENCE_S)
    assert caught.value.refused
    # Whoever was connected once, or has no keys, waits for as long as it takes.
    one.event(zmq.EVENT_HANDSHAKE_SUCCEEDED, 0, 30.0)
    assert one.problem is None
    one.event(*broken, 40.0)
    one.check(1000.0)
    assert one.problem
    bare = handshakes(keyed=False)
    bare.event(*broken, 0.0)
    bare.check(1000.0)
    # One that went away altogether is started again.
    one.event(zmq.EVENT_CLOSED, 111, 50.0)
    one.check(1000.0)
    assert one.problem and "nobody listens" in one.problem


def test_a_refusal_counts_even_after_a_connection() -> None:
    one = handshakes()
    one.event(zmq.EVENT_HANDSHAKE_SUCCEEDED, 0, 0.0)
    with pytest.raises(HandshakeError, match="does not admit"):
        one.event(zmq.EVENT_HANDSHAKE_FAILED_AUTH, 400, 1.0)
    with pytest.raises(HandshakeError, match="does not speak this protocol"):
        one.event(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, 1, 1.0)


def test_the_cut_leaves_alone_what_is_no_connection_of_the_door(tmp_path: Path) -> None:
    with new_context() as context, (tmp_path / "file").open("w") as file:
        door = sockets.door(context, f"tcp://127.0.0.1:{free_ports(1)[0]}")
        for descriptor in (-1, 999_999, file.fileno()):
            sockets.cut(door, sockets.Arrival([], "", descriptor))
        assert not file.closed
        file.write("still there")
        door.close(0)


def test_monitors_leave_nothing_behind() -> None:
    with new_context() as context:
        dealer = sockets.dealer(context)
        monitor = Monitor(dealer, handshakes(keyed=False))
        monitor.look(0.0)
        monitor.close()
        dealer.close(0)


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
