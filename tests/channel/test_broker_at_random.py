"""The channel's broker: everything at once, in any order."""

from dataclasses import dataclass, field
from typing import Any

from broker_world import (
    K,
    World,
    check_consistent,
    confirm,
    frame_id,
    hello,
    payload,
    request,
    result,
)
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from channel.broker import Broker, Side
from simulator.link import constants as c
from simulator.link import messages as m


@dataclass
class Camera:
    """A persistent transmitter: asks until every frame of its own is in its ledger."""

    name: str
    frames: set[int]
    identity: bytes
    granted: dict[int, int] = field(default_factory=dict)  # frame: round
    ledger: dict[int, m.Result] = field(default_factory=dict)


@dataclass
class Machine:
    """A receiver whose ledger outlives its crashes."""

    name: str
    identity: bytes
    alive: bool = False
    held: set[int] = field(default_factory=set)
    ledger: dict[int, m.Result] = field(default_factory=dict)
    confirmed: set[int] = field(default_factory=set)


FRAMES = {frame_id(i): i for i in range(8)}


class Chaos(RuleBasedStateMachine):
    """Any order of requests, results, crashes, lost messages and time.

    Invariants: counters agree, nothing is unbounded, a frame's symbols never change; and when
    losses stop, every frame that is asked for is stored, once, and the channel is empty.
    """

    cameras = Bundle("cameras")
    machines = Bundle("machines")
    tx: list[Camera]
    rx: list[Machine]

    def __init__(self) -> None:
        super().__init__()
        size = 8 * K + 12
        self.w = World(
            queue_frames=5, queue_bytes=4 * size, symbol_rate_hz=40.0, airtime="sleep",
            max_lost_receivers=2, client_frames=3, client_bytes=2 * size, client_rate_hz=5.0,
        )  # fmt: skip
        self.to_lose = 0
        self.connections = 0
        self.on_air: dict[int, bytes] = {}
        self.tx, self.rx = [], []

    def connect(self) -> bytes:
        self.connections += 1
        return b"%d" % self.connections

    def lost(self) -> bool:
        self.to_lose -= 1
        return self.to_lose >= 0

    def say(self, side: Side, identity: bytes, message: m.Message, *parts: bytes) -> None:
        if not self.lost():
            parts = parts or (b"",) * (2 if isinstance(message, m.Result) else 0)
            self.w.broker.receive(side, identity, m.encode(message, parts), self.w.now)
        self.listen()

    def listen(self) -> None:
        """Deliver what the channel has said, until nobody has anything to answer."""
        while self.w.boxes:
            identity, box = self.w.boxes.popitem()
            for message, parts in box:
                if self.lost():
                    continue
                for camera in self.tx:
                    if camera.identity == identity:
                        self.to_camera(camera, message)
                for machine in self.rx:
                    if machine.identity == identity and machine.alive:
                        self.to_machine(machine, message, parts)

    def to_camera(self, camera: Camera, message: m.Message) -> None:
        assert not isinstance(message, m.Reject), message
        if isinstance(message, m.Grant):
            camera.granted[FRAMES[message.frame_id]] = message.number
        elif isinstance(message, m.Result):
            i = FRAMES[message.frame_id]
            assert i in camera.frames
            camera.ledger.setdefault(i, message)
            camera.granted.pop(i, None)
            self.say("front", camera.identity, confirm(i, message.receiver))
        elif isinstance(message, m.Nack) and message.code == "say-hello":
            self.say("front", camera.identity, hello("tx", camera.name))

    def to_machine(self, machine: Machine, message: m.Message, parts: list[bytes]) -> None:
        assert not isinstance(message, m.Reject), message
        if isinstance(message, m.Arrival):
            i = FRAMES[message.frame_id]
            assert self.on_air.setdefault(i, parts[0] + parts[1]) == parts[0] + parts[1]
            if i in machine.ledger:
                self.offer(machine, i)
            else:
                machine.held.add(i)
        elif isinstance(message, m.Confirm):
            machine.confirmed.add(FRAMES[message.frame_id])
        elif isinstance(message, m.Nack) and message.code == "say-hello":
            self.greet(machine)

    def greet(self, machine: Machine) -> None:
        self.say("back", machine.identity, hello("rx", machine.name))
        self.say("back", machine.identity, m.Ready(slots=2))

    def offer(self, machine: Machine, i: int) -> None:
        self.say("back", machine.identity, machine.ledger[i])

    def ask(self, camera: Camera, i: int) -> None:
        self.say("front", camera.identity, request(i, k=2 * K, rounds=1 + i % 2))

    def send(self, camera: Camera, i: int) -> None:
        number = camera.granted.pop(i, 0)
        parts = (payload(i), b"", b"" if number else bytes(12))
        self.say("front", camera.identity, self.w.frame(i, number=number), *parts)

    def finish(self, machine: Machine, i: int) -> None:
        machine.held.discard(i)
        owner = next(camera.name for camera in self.tx if i in camera.frames)
        machine.ledger.setdefault(i, result(i, owner, machine.name))
        self.offer(machine, i)

    def second(self) -> None:
        """A second passes: everybody who lives beats, receivers name what they hold."""
        self.w.now += 1
        for camera in self.tx:
            self.say("front", camera.identity, m.Heartbeat(times=[self.w.now]))
        for machine in self.rx:
            if machine.alive:
                running = [frame_id(i) for i in machine.held]
                beat = m.Heartbeat(times=[self.w.now], running=running)
                self.say("back", machine.identity, beat)
        self.w.broker.tick(self.w.now)
        self.listen()

    def persist(self) -> None:
        """Every camera sends what was granted, and asks for what it still needs."""
        for camera in self.tx:
            for i in sorted(camera.frames - camera.ledger.keys()):
                self.send(camera, i) if i in camera.granted else self.ask(camera, i)

    @initialize(target=cameras)
    def start_cameras(self) -> Any:
        self.tx = [
            Camera(f"tx{n}", {i for i in FRAMES.values() if i % 2 == n}, self.connect())
            for n in range(2)
        ]
        for camera in self.tx:
            self.say("front", camera.identity, hello("tx", camera.name))
        return multiple(*self.tx)

    @initialize(target=machines)
    def start_machines(self) -> Any:
        self.rx = [Machine(f"rx{n}", b"") for n in range(2)]
        for machine in self.rx:
            machine.identity, machine.alive = self.connect(), True
            self.greet(machine)
        return multiple(*self.rx)

    @rule(camera=cameras, frames=st.sets(st.sampled_from(range(4)), min_size=1))
    def cameras_ask(self, camera: Camera, frames: set[int]) -> None:
        for i in {sorted(camera.frames)[n] for n in frames} - camera.ledger.keys():
            self.ask(camera, i)

    @rule(camera=cameras, data=st.data())
    def camera_sends(self, camera: Camera, data: st.DataObject) -> None:
        known = sorted(camera.granted) * 3 + sorted(camera.frames)  # granted or not
        self.send(camera, data.draw(st.sampled_from(known)))

    @rule(camera=cameras)
    def camera_reconnects(self, camera: Camera) -> None:
        camera.identity = self.connect()
        camera.granted.clear()
        self.say("front", camera.identity, hello("tx", camera.name))

    @rule(machine=machines)
    def machine_finishes(self, machine: Machine) -> None:
        for i in sorted(machine.held)[:1]:
            self.finish(machine, i)

    @rule()
    def all_finish(self) -> None:
        for machine in self.rx:
            for i in sorted(machine.held):
                self.finish(machine, i)

    @rule(machine=machines)
    def machine_fails(self, machine: Machine) -> None:
        for i in sorted(machine.held)[:1]:
            machine.held.discard(i)
            refusal = m.Nack(code="failed", reason="", frame_id=frame_id(i), tx="tx")
            self.say("back", machine.identity, refusal)

    @rule(machine=machines, slots=st.integers(1, 3))
    def machine_offers_again(self, machine: Machine, slots: int) -> None:
        if machine.alive:
            self.say("back", machine.identity, m.Ready(slots=slots))
            for i in sorted(machine.ledger):
                self.offer(machine, i)

    @rule(machine=machines)
    def machine_crashes(self, machine: Machine) -> None:
        machine.alive = False
        machine.held.clear()

    @rule(machine=machines)
    def machine_starts_again(self, machine: Machine) -> None:
        machine.held.clear()
        machine.identity, machine.alive = self.connect(), True
        self.greet(machine)

    @rule(n=st.integers(1, 4))
    def messages_get_lost(self, n: int) -> None:
        self.to_lose = n

    @rule(camera=cameras, machine=machines, which=st.sampled_from([0, 0, 0, 1, 2]))
    def queues_fill_up(self, camera: Camera, machine: Machine, which: int) -> None:
        pair = (camera.identity, machine.identity)
        self.w.unreachable = {identity for bit, identity in enumerate(pair) if which >> bit & 1}

    @rule()
    def all_work(self) -> None:
        for _ in range(3):
            self.persist()
            self.second()

    @rule(seconds=st.sampled_from([1, 4, 8, 31]))
    def receivers_think(self, seconds: int) -> None:
        for _ in range(seconds):
            self.second()

    @rule(seconds=st.sampled_from([0, 0, 0, 1, 8, 31]))
    def the_channel_sleeps(self, seconds: int) -> None:
        self.w.now += seconds
        self.w.broker.tick(self.w.now)
        self.listen()

    @rule(really=st.sampled_from([False, False, False, True]))
    def channel_starts_again(self, really: bool) -> None:
        if really:
            self.w.broker = Broker(self.w.broker.settings, "epoch2", self.w.send)

    @invariant()
    def consistent(self) -> None:
        check_consistent(self.w.broker)

    def teardown(self) -> None:
        """Losses stop: everything that is asked for arrives."""
        self.to_lose, self.w.unreachable = 0, set()
        if not (self.tx and self.rx):
            return  # hypothesis gave up before the start
        for machine in self.rx:
            if not machine.alive:
                self.machine_starts_again(machine)
            self.say("back", machine.identity, m.Ready(slots=2))
        for _ in range(150):
            self.second()
            for machine in self.rx:
                for i in sorted(machine.held):
                    self.finish(machine, i)
                for i in machine.ledger.keys() - machine.confirmed:
                    self.offer(machine, i)
            self.persist()
            check_consistent(self.w.broker)
            if self.quiet():
                break
        for camera in self.tx:
            assert camera.ledger.keys() == camera.frames
        for machine in self.rx:
            assert machine.confirmed >= machine.ledger.keys()
        for _ in range(int(c.GRANT_S) + 2):
            self.second()
        broker = self.w.broker
        assert not broker.entries and broker.admitted == broker.held_bytes == 0
        # A result offered again behind its CONFIRM may stay, unheard; it is bounded.
        stored = {i for camera in self.tx for i in camera.ledger}
        assert {FRAMES[known] for known in broker.remembered} <= stored

    def quiet(self) -> bool:
        stored = all(camera.ledger.keys() == camera.frames for camera in self.tx)
        return stored and all(x.confirmed >= x.ledger.keys() for x in self.rx)


Chaos.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestChaos = Chaos.TestCase
