"""A channel whose doors have keys, over real sockets, and clients that knock."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

from channel.peers import Side
from channel.service import ChannelService
from simulator.children import free_ports
from simulator.link import constants as c
from simulator.link import keyfolder, keys, sockets
from simulator.link import messages as m
from simulator.process import Stopper
from simulator.settings import ChannelSettings


def hello(role: str, name: str) -> m.Hello:
    fields = {"version": c.VERSION, "role": role, "name": name, "run": "run", "settings": "s"}
    return m.Hello(**(fields | {"codec": "codec"}))


class Bench:
    """A keyed channel in a thread, its key folders, and all that its broker was given."""

    def __init__(self, folder: Path, watch: bool = False) -> None:
        self.folder, self.keys = folder, folder / "channel"
        keyfolder.init(self.keys, "channel")
        self.server = keys.read_public(self.keys / "channel.pub").public
        for role, name in (("tx", "board"), ("rx", "gpu")):
            self.make(role, name)  # type: ignore[arg-type]
            keyfolder.add(self.keys, role, folder / role / name / f"{name}.pub")  # type: ignore[arg-type]
        front, back, at = (f"tcp://127.0.0.1:{port}" for port in free_ports(3))
        self.watch = at if watch else ""
        self.endpoints: dict[Side, str] = {"front": front, "back": back}
        settings = ChannelSettings(front=front, back=back, watch=self.watch, keys=str(self.keys))
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


def a_key(bench: Bench) -> sockets.Key:
    pair = keys.make_pair("tx", "board")
    return sockets.Key(pair.public, pair.secret, bench.server)


@contextmanager
def new_context() -> Iterator[zmq.Context[Any]]:
    """Closed with all its sockets, whatever has failed."""
    context: zmq.Context[Any] = zmq.Context()
    try:
        yield context
    finally:
        context.destroy(0)
