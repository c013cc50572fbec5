"""A user whose keys or address are wrong reads one sentence that says so."""

from pathlib import Path

import pytest
import zmq
from gate_world import Bench, hello, new_context
from helpers import wait_for

from channel.peers import Side
from channel.service import ChannelService
from simulator import connection
from simulator.children import free_ports
from simulator.connection import Connection
from simulator.errors import AddressError, KeysError, RejectedError
from simulator.link import constants as c
from simulator.link import keyfolder, sockets
from simulator.link.clock import monotonic
from simulator.link.handshake import HandshakeError, Handshakes, Monitor
from simulator.settings import ChannelSettings


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
    """Whoever sees the mismatch first breaks off: where that is the channel, it may want keys."""
    made, caught = connect(bench, ""), []

    def looked() -> bool:
        try:
            made.look(monotonic())
        except RejectedError as error:
            caught.append(str(error))
        return bool(caught) or "may want keys" in str(made.problem)

    try:
        wait_for(looked)
    finally:
        made.close()
    assert all("wants keys" in message for message in caught)


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
        # The first of the two sees it himself, the second that the other breaks off.
        message = said(made, RejectedError)
        assert "has no keys" in message or "look whether that channel has keys" in message
        assert not door.poll(0)
        door.close(0)


@pytest.mark.parametrize("keyed", [True, False])
def test_where_nobody_listens_it_is_said_and_waited(bench: Bench, keyed: bool) -> None:
    bench.endpoints["front"] = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    made = connect(bench, str(bench.folder / "tx" / "board") if keyed else "")

    def looked() -> bool:
        made.look(monotonic())
        return made.problem is not None

    try:
        wait_for(looked)
    finally:
        made.close()
    assert "nobody listens at" in str(made.problem)


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


def test_monitors_leave_nothing_behind() -> None:
    with new_context() as context:
        dealer = sockets.dealer(context)
        monitor = Monitor(dealer, handshakes(keyed=False))
        monitor.look(0.0)
        monitor.close()
        dealer.close(0)
