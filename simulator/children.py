"""The processes that are started on this machine: their addresses, their keys, and their restarts.

A child that dies is started again; its ledger and the protocol see to it that nothing is lost
and nothing is done twice. A child that ends with a documented exit code meant it.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from simulator.child import Child, ChildFailed
from simulator.errors import EXIT_CODES, KeysError, SettingsError
from simulator.link import keyfolder
from simulator.link.keys import KeyFileError, Role
from simulator.runfolder import RUN_FILE
from simulator.settings import Settings

DEFECT = 1  # exit code of a traceback
FIRST_WORDS = (" INFO ", '"level": "info"')  # of a log: the process has its modules and settings
FINISHED = (0, 7)  # exit codes of a tx that has every frame in its ledger
MAX_RESTARTS = 50
FIRST_PORT = 15_000  # below are those of well-known services
OUTGOING_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
MAX_STILLBORN = 2  # restarts of one that ends by an error before its first word
RESTART_PAUSE_S = 0.2
STOP_S = 10.0

log = logging.getLogger("simulate")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that are free now.

    They are below those that the system gives to outgoing connections, one of which could take a
    port before its process binds it.
    """
    ports = random.SystemRandom().sample(range(FIRST_PORT, first_outgoing_port()), 50 * count)
    sockets: list[socket.socket] = []
    try:
        for port in (*ports, *(0,) * count):  # 0: any, where all of these are taken
            each = socket.socket()
            try:
                each.bind(("127.0.0.1", port))
            except OSError:
                each.close()
                continue
            sockets.append(each)
            if len(sockets) == count:
                break
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def first_outgoing_port() -> int:
    """Of the range for outgoing connections; Linux's default where no other is known."""
    try:
        first = int(OUTGOING_PORTS.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768
    return first if first >= 2 * FIRST_PORT else 32_768


def on_this_machine(settings: Settings) -> Settings:
    """Settings with free ports, and with room for every receiver. Raises ``SettingsError`` for
    those of two transmitters."""
    if settings.channel.superposed:
        raise SettingsError(
            "channel.superposed is for two transmitters, and this starts one: start diffjscc "
            "channel, diffjscc rx, and diffjscc tx for each of them."
        )
    front, back = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
    threads = settings.rx.threads or max(1, (os.cpu_count() or 1) // settings.receivers)
    window = max(settings.tx.window, settings.receivers)
    return settings.model_copy(
        update={
            "tx": settings.tx.model_copy(
                update={"connect": front, "window": window, "wait_receivers": settings.receivers}
            ),
            "channel": settings.channel.model_copy(update={"front": front, "back": back}),
            "rx": settings.rx.model_copy(update={"connect": back, "threads": threads}),
        }
    )


def receiver_names(settings: Settings) -> list[str]:
    if settings.receivers == 1:
        return [settings.rx.name]
    return [f"{settings.rx.name}{i + 1}" for i in range(settings.receivers)]


def make_keys(settings: Settings, folder: Path) -> None:
    """In ``folder``: ``channel``, and for each tx and rx a folder of its name, all admitted."""
    channel = folder / "channel"
    keyfolder.init(channel, "channel")
    clients: list[tuple[Role, str]] = [("tx", settings.tx.name)]
    clients += [("rx", name) for name in receiver_names(settings)]
    for role, name in clients:
        home = folder / role / name
        keyfolder.init(home, role, name, channel / "channel.pub")
        keyfolder.add(channel, role, home / f"{name}.pub")


@contextmanager
def run_keys(settings: Settings) -> Iterator[Path | None]:
    """Keys for this start of a run, gone when it ends; None where none are wanted.

    Not in the run folder: those are copied and shown around.
    """
    if not settings.keys:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="diffjscc-keys-") as scratch:
        try:
            make_keys(settings, Path(scratch))
        except KeyFileError as error:
            raise KeysError(str(error)) from None
        yield Path(scratch)


def make_children(settings: Settings, folder: Path, keys: Path | None = None) -> list[Child]:
    """tx, channel and the receivers, as the command line would start them.

    ``keys``: what ``make_keys`` has made, if the link is to be encrypted.
    """
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    base = [sys.executable, "-m", "simulator.cli"]
    common = ["--config", str(folder / RUN_FILE), "--supervised", str(os.getpid())]

    def child(name: str, role: str, own: str, *arguments: str) -> Child:
        if keys:
            arguments += ("--set", f"{role}.keys={keys / own}")
        return Child(name, [*base, role, *arguments, *common], logs / f"{name}.log")

    receivers = [
        child(name, "rx", f"rx/{name}", "--set", f"rx.name={name}", *own_metrics(settings, index))
        for index, name in enumerate(receiver_names(settings))
    ]
    tx = child("tx", "tx", f"tx/{settings.tx.name}")
    if settings.tx.source == "stdin":
        tx.stdin = None
    return [tx, child("channel", "channel", "channel"), *receivers]


def own_metrics(settings: Settings, index: int) -> list[str]:
    """Each receiver shows its metrics at a port of its own: the next ones after the first's."""
    host, colon, port = settings.rx.observe.metrics_address.rpartition(":")
    if not (index and colon and port.isdecimal()):
        return []
    return ["--set", f"rx.observe.metrics_address={host}:{int(port) + index}"]


def tend(children: Sequence[Child]) -> bool:
    """Start again what has died; True where tx has finished. Raises ``ChildFailed`` where to start
    it again is useless."""
    for child in children:
        code = child.poll()
        if code is None:
            continue
        if child.name == "tx" and code in FINISHED:
            return True
        if code > 1 and code in EXIT_CODES:
            raise ChildFailed(child.sentence(), code)
        if code == DEFECT and not any(map(child.has_said, FIRST_WORDS)):
            child.stillborn += 1
        if child.stillborn > MAX_STILLBORN:  # no module, say: it will be no other next time
            raise ChildFailed(
                f"{child.name} cannot start ({child.last_words()}); see {child.log_path}.", 1
            )
        if child.restarts >= MAX_RESTARTS:
            raise ChildFailed(f"{child.name} died {MAX_RESTARTS} times; {child.sentence()}", 1)
        child.restarts += 1
        log.warning("%s ended with code %d and is started again", child.name, code)
        time.sleep(RESTART_PAUSE_S)
        child.reap(time.monotonic())
        child.start()
    return False


def stop(children: Sequence[Child]) -> None:
    deadline = time.monotonic() + STOP_S
    for child in children:
        child.stop()
    for child in children:
        child.reap(deadline)
