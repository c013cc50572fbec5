"""What processes have in common: stopping, address rules, the device they compute on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Protocol, TypeVar

from simulator.address import is_loopback
from simulator.errors import AddressError, SettingsError
from simulator.link.sockets import EndpointError, host_of

DEVICES = ("cpu", "cuda", "mps")
POLL_S = 0.2  # how often a loop looks whether it should stop
SILENT_CHANNEL = "the channel does not answer; is it running at this address?"


class Stopper:
    """True once SIGTERM or SIGINT came, or the supervising parent has died."""

    def __init__(self, parent: int = 0) -> None:
        self._parent = parent
        self._stopped = False
        self.insisted = False  # a second signal: at once, please

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.insisted = self._stopped
        self._stopped = True

    def stop(self) -> None:
        self._stopped = True

    @property
    def orphaned(self) -> bool:
        """Whether there was a parent and it is gone."""
        return self._parent != 0 and os.getppid() != self._parent

    def __bool__(self) -> bool:
        return self._stopped or self.orphaned


class Reminder:
    """Says what a process is waiting for, once it has waited a while, and again now and then."""

    def __init__(self, say: Callable[[str], None], pause_s: float = 10.0) -> None:
        self._say, self._pause_s = say, pause_s
        self._since: float | None = None

    def waiting(self, sentence: str | None, now: float) -> None:
        """``sentence`` None: it waits for nothing."""
        if sentence is None:
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since >= self._pause_s:
            self._since = now
            self._say(sentence)


Outcome = TypeVar("Outcome", covariant=True)


class Service(Protocol[Outcome]):
    """One of the three processes."""

    def run(self, stop: Stopper) -> Outcome: ...
    def close(self) -> None: ...


def serve(service: Service[Outcome], parent: int = 0) -> Outcome:
    """Run a service until it is done, told to stop, or its supervising parent is gone."""
    stop = Stopper(parent)
    stop.install()
    try:
        return service.run(stop)
    finally:
        service.close()


def check_bind(endpoint: str, keyed: bool, insecure: bool) -> bool:
    """Loopback, unless there are keys or the user says ``insecure``.

    True where others could listen in. Raises ``AddressError``.
    """
    try:
        host = host_of(endpoint)
    except EndpointError as error:
        raise AddressError(f"{error}.") from None
    if not host:
        return False
    if is_loopback(host) or keyed:
        return False
    if not insecure:
        raise AddressError(
            f"{endpoint} can be reached from other machines and the link has no keys; make some "
            f"(diffjscc keys init channel FOLDER) and add --set channel.keys=FOLDER, or add "
            f"--insecure if that network is yours, or bind to tcp://127.0.0.1."
        )
    return True


def pick_device(asked: str) -> str:
    """``auto``: cuda where there is one. Raises ``SettingsError`` for a device that is not here."""
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked.split(":")[0] not in DEVICES:
        raise SettingsError(f"device {asked}: give auto, cpu, cuda, cuda:1 or mps.")
    try:
        torch.empty(1, device=asked)  # built in, on this machine, and of this number
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise SettingsError(f"device {asked} cannot be used here ({reason}); use cpu.") from None
    return asked


def has_matrix_unit() -> bool:
    """Whether this processor multiplies matrices in bfloat16 by a unit of its own (AMX of Intel's
    servers from 2023 on): restoration then takes a quarter of the time that it takes in float32."""
    import torch

    # torch has no public name for it; a version without this one is as a processor without AMX.
    asked = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(asked and asked())
