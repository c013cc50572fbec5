"""Some transmitters, a channel and some receivers as processes, with a proxy before each door.

    tx1, tx2 ... -> proxy -> front | channel | back <- proxy <- rx1, rx2 ...

A process that dies is started again, as a supervisor of an operating system would.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from simulator.children import free_ports
from simulator.png import save_png
from simulator.settings import Settings, make_settings
from simulator.toml import to_toml
from tests.chaos.proxy import Proxy

FINISHED = 0
SIZE_PX = (192, 256)  # 3,072 symbols at 1/48
IMAGES = 4  # of a transmitter, each with a share of its frames


@dataclass
class Process:
    """One process through all its lives. ``meant``: exit codes that were no accident."""

    name: str
    role: str
    command: list[str]
    log: Path
    handle: subprocess.Popen[bytes] | None = None
    lives: int = 0
    done: bool = False
    frozen_until: float = 0.0
    meant: list[int] = field(default_factory=list)
    rss_kb: list[tuple[int, int]] = field(default_factory=list)  # (life, VmRSS)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.handle = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.lives += 1

    @property
    def alive(self) -> bool:
        return self.handle is not None and self.handle.poll() is None

    def send(self, number: int) -> bool:
        """A signal, if it is alive."""
        if not self.alive:
            return False
        assert self.handle is not None
        self.handle.send_signal(number)
        return True

    def measure(self) -> None:
        try:
            assert self.handle is not None
            lines = Path(f"/proc/{self.handle.pid}/status").read_text().splitlines()
            rss = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        except (OSError, StopIteration, AssertionError):
            return  # it has just died
        self.rss_kb.append((self.lives, rss))


RAYLEIGH = {"channel.kind": "rayleigh"}
# Two kinds with pilots and gains of their own, and packets that are lost.
MULTIPATH_AND_MIMO = {
    "channel.kind": ["multipath", "mimo"], "channel.csit": "average", "channel.csir": "estimated",
    "channel.multipath.doppler_hz": 100.0, "channel.multipath.pilot_spacing": 2,
    "channel.packets.size": 16, "channel.packets.loss": 0.1,
}  # fmt: skip


# Two users on the same channel uses. The first one has more frames, whose last are sent alone.
SUPERPOSED = {**RAYLEIGH, "channel.superposed": ["tx1", "tx2"]}


class World:
    """``frames`` of each transmitter and kind of channel, with a codec without weights.

    ``delay_s``: a pretended computation of each frame at a receiver. ``size_px``: (H, W); K is
    H W / 16. ``air``: settings of the channel. ``direct``: without the proxies, for measuring.
    ``more``: frames of the first transmitter beside these; ``window``: of each.
    """

    def __init__(
        self,
        folder: Path,
        frames: int,
        transmitters: int,
        receivers: int,
        seed: int = 0,
        delay_s: float = 0.0,
        size_px: tuple[int, int] = SIZE_PX,
        slots: int = 16,
        direct: bool = False,
        codec: str = "null",
        air: Mapping[str, object] = RAYLEIGH,
        more: int = 0,
        window: int = 16,
    ) -> None:
        self.folder, self.frames, self.size_px = folder, frames, size_px
        self.events: Counter[str] = Counter()
        front, back = free_ports(2)
        self.front, self.back = Proxy(front), Proxy(back)
        ends = (front, back) if direct else (self.front.port, self.back.port)
        logs = folder / "logs"
        logs.mkdir(parents=True)

        def settings(name: str, **given: object) -> dict[str, object]:
            return {
                "run": "chaos",
                "name": "chaos",
                "codec": codec,
                "seed": seed,
                "out": str(folder / name),
                "channel.snr_db": 7.0,
                **air,
                "channel.front": f"tcp://127.0.0.1:{front}",
                "channel.back": f"tcp://127.0.0.1:{back}",
                "tx.connect": f"tcp://127.0.0.1:{ends[0]}",
                "rx.connect": f"tcp://127.0.0.1:{ends[1]}",
                "rx.reference": "none",
                "rx.save_images": False,
                "rx.slots": slots,
                "rx.decode_s": delay_s,
                **given,
            }

        self.settings: dict[str, Settings] = {}
        for i in range(transmitters):
            name = f"tx{i + 1}"
            self.settings[name] = make_settings(
                overrides=settings(
                    name,
                    **{
                        "tx.name": name,
                        "tx.images": [str(path) for path in photographs(folder / name, i, size_px)],
                        "tx.repeats": (frames + (0 if i else more)) // IMAGES,
                        "tx.window": window,
                        "tx.bandwidth_ratio": "1/48",
                        "tx.reference": "none",
                        "tx.save_originals": False,
                        # Of every other one previews come back, or are lost on the way.
                        "tx.returns": ("preview", "none")[i % 2],
                        # A channel without anybody behind it is what attacks are about.
                        "tx.wait_receivers": receivers if direct else 0,
                    },
                )
            )
        for i in range(receivers):
            self.settings[f"rx{i + 1}"] = make_settings(
                overrides=settings(f"rx{i + 1}", **{"rx.name": f"rx{i + 1}"})
            )
        self.settings["channel"] = make_settings(
            overrides=settings("channel", **{"channel.max_lost_receivers": 0})
        )
        self.processes = [self._process(name) for name in self.settings]

    def _process(self, name: str) -> Process:
        config = self.folder / f"{name}.toml"
        config.write_text(to_toml(self.settings[name].model_dump()))
        role = name.rstrip("0123456789")
        command = [sys.executable, "-m", "simulator.cli", role, "--config", str(config)]
        command += ["--supervised", str(os.getpid())]
        return Process(name, role, command, self.folder / "logs" / f"{name}.log")

    @property
    def transmitters(self) -> list[Process]:
        return [each for each in self.processes if each.role == "tx"]

    @property
    def finished(self) -> bool:
        return all(each.done for each in self.transmitters)

    def start(self) -> None:
        for each in self.processes:
            each.start()

    def tend(self) -> None:
        """Start again what died, wake what was frozen for long enough."""
        now = time.monotonic()
        for each in self.processes:
            if each.frozen_until and now >= each.frozen_until:
                each.send(signal.SIGCONT)
                each.frozen_until = 0.0
            if each.done or each.alive:
                continue
            code = each.handle.returncode if each.handle else -signal.SIGKILL
            if each.role == "tx" and code == FINISHED:
                each.done = True
                continue
            if code >= 0:
                each.meant.append(code)
            each.frozen_until = 0.0
            each.start()

    def measure(self) -> None:
        for each in self.processes:
            if each.alive:
                each.measure()

    def close(self) -> None:
        for each in self.processes:
            each.send(signal.SIGCONT)
            each.send(signal.SIGKILL)
        for each in self.processes:
            if each.handle:
                each.handle.wait(10)
        self.front.close()
        self.back.close()


def photographs(folder: Path, number: int, size_px: tuple[int, int]) -> list[Path]:
    """Images of one grey each: the null codec looks at nothing but their size and hash."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(IMAGES):
        paths.append(folder / f"grey{index}.png")
        shade = (number * IMAGES + index) % 256
        save_png(np.full((*size_px, 3), shade, np.uint8), paths[-1])
    return paths
