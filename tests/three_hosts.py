"""Three hosts and a router as network namespaces of this machine, with slow and lossy links.

    tx 10.99.1.2 --- 10.99.1.1 channel 10.99.2.1 --- 10.99.2.2 router
                                                router 192.168.99.1 --- 192.168.99.2 rx

The router translates addresses (NAT): nobody outside knows rx's. The two links of the channel are
pairs of TUN devices, between which a thread carries packets: late, and not all of them. The
kernel's own emulation (``tc netem``) is a module that many machines lack; this needs none.

``sudo python -m tests.three_hosts`` makes them and shows how to get a shell on each.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
HOSTS = ("tx", "channel", "router", "rx")


class Unavailable(Exception):
    """Why there can be no namespaces here."""


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def open_tun(namespace: str, device: str) -> int:
    """The packets of a device of another namespace; a thread of its own visits that."""
    found: list[int | OSError] = []

    def visit() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(f"/run/netns/{namespace}").open() as there:
                if libc.setns(there.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            request = struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI)
            fcntl.ioctl(tun, TUNSETIFF, request)
            found.append(tun)
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise Unavailable(f"a TUN device cannot be used: {found[0]}")
    return found[0]


@dataclass
class Wire:
    """Carries packets between two devices, each way ``delay_s`` late and with that share lost."""

    ends: tuple[int, int]
    delay_s: float
    loss: float
    draw: random.Random
    carried: int = 0
    lost: int = 0
    _ended: bool = False
    _thread: threading.Thread | None = field(default=None, repr=False)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        flying: list[tuple[float, int, int, bytes]] = []
        a, b = self.ends
        while not self._ended:
            now = time.monotonic()
            while flying and flying[0][0] <= now:
                _, _, end, packet = heapq.heappop(flying)
                try:
                    os.write(end, packet)
                except OSError:  # the device is down, or its queue is full: one more that is lost
                    self.lost += 1
            wait = min(0.1, flying[0][0] - now) if flying else 0.1
            for end in select.select([a, b], [], [], wait)[0]:
                packet = os.read(end, 65_536)
                if self.draw.random() < self.loss:
                    self.lost += 1
                    continue
                self.carried += 1
                arrives = time.monotonic() + self.delay_s
                heapq.heappush(flying, (arrives, self.carried, b if end == a else a, packet))

    def close(self) -> None:
        self._ended = True
        if self._thread:
            self._thread.join()
        for end in self.ends:
            os.close(end)


@dataclass
class Hosts:
    """``address``: of the channel, as each client knows it."""

    names: dict[str, str]
    wires: list[Wire]
    addresses: dict[str, str] = field(
        default_factory=lambda: {"tx": "10.99.1.1", "rx": "10.99.2.1", "channel": "0.0.0.0"}
    )

    def on(self, host: str, *words: str) -> list[str]:
        """A command that runs there."""
        return ["ip", "netns", "exec", self.names[host], *words]

    def cli(self, host: str, *words: object) -> list[str]:
        return self.on(host, sys.executable, "-m", "simulator.cli", *map(str, words))

    def peers(self, host: str) -> list[str]:
        """Addresses at the other end of the TCP connections of a host."""
        lines = run(*self.on(host, "ss", "-Htn", "state", "established")).splitlines()
        return [line.split()[3].rpartition(":")[0] for line in lines]


def check_tools(tools: Sequence[str] = ("ip", "iptables", "ss")) -> None:
    if os.geteuid() != 0:
        raise Unavailable("only root may make network namespaces")
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        raise Unavailable(f"{', '.join(missing)} not installed (iproute2, iptables)")
    if not Path("/dev/net/tun").exists():
        raise Unavailable("there is no /dev/net/tun")


@contextmanager
def three_hosts(delay_s: float, loss: float, seed: int = 0) -> Iterator[Hosts]:
    """Raises ``Unavailable`` with the reason where this machine does not allow it."""
    check_tools()
    names = {host: f"djc{os.getpid()}{host}" for host in HOSTS}
    with ExitStack() as undo:
        for name in names.values():
            run("ip", "netns", "add", name)
            undo.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
            run("ip", "-n", name, "link", "set", "lo", "up")
        wires = []
        for number, other in ((1, "tx"), (2, "router")):
            ends = []
            for host, last in (("channel", 1), (other, 2)):
                device, name = f"link{number}", names[host]
                run("ip", "-n", name, "tuntap", "add", "dev", device, "mode", "tun")
                run("ip", "-n", name, "addr", "add", f"10.99.{number}.{last}/24", "dev", device)
                run("ip", "-n", name, "link", "set", device, "up")
                ends.append(open_tun(name, device))
            wire = Wire((ends[0], ends[1]), delay_s, loss, random.Random(seed + number))
            undo.callback(wire.close)
            wire.start()
            wires.append(wire)
        router, rx = names["router"], names["rx"]
        run("ip", "link", "add", "lan", "netns", router, "type", "veth", "peer", "name", "lan",
            "netns", rx)  # fmt: skip
        for name, last in ((router, 1), (rx, 2)):
            run("ip", "-n", name, "addr", "add", f"192.168.99.{last}/24", "dev", "lan")
            run("ip", "-n", name, "link", "set", "lan", "up")
        run("ip", "-n", rx, "route", "add", "default", "via", "192.168.99.1")
        hosts = Hosts(names, wires)
        run(*hosts.on("router", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"))
        run(*hosts.on("router", "iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "link2",
                      "-j", "MASQUERADE"))  # fmt: skip
        yield hosts


def main() -> None:
    """Hosts to try things on, until Enter: 40 ms each way, and 5 % of the packets lost."""
    try:
        with three_hosts(delay_s=0.04, loss=0.05) as hosts:
            for host in ("tx", "channel", "rx"):
                print(f"{host}: sudo ip netns exec {hosts.names[host]} bash")
            print("channel: 10.99.1.1 for tx, 10.99.2.1 for rx")
            input("Enter ends it. ")
    except Unavailable as error:
        sys.exit(f"no network namespaces here: {error}")


if __name__ == "__main__":
    main()
