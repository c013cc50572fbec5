"""Frames as they reach a receiver, and a worker whose clock and decoder are the test's."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rx.chain import Decoders
from rx.estimates import OnEstimate
from rx.receiver import Both, Failed, Stored, Task
from rx.reference import References
from rx.refiner import Refined, ToRefine
from rx.store import ResultStore
from rx.worker import Event, Worker
from simulator.jscc.beside import Beside
from simulator.jscc.rates import null_symbols
from simulator.jscc.signal import Signal, ToDecode, ToEncode
from simulator.link import messages as m
from simulator.phy.laws import Laws, Waveform
from simulator.phy.state import ChannelState
from simulator.receiving import RxSettings

K = 8
POINT = m.WirePoint(channel="rayleigh", snr_db=10.0, bandwidth_ratio="1/384")
AIR = m.Air(
    tx="tx", snr_db=10.0, csit="perfect", csir="perfect", h_abs2=4.0, received_snr_db=16.0,
    papr_db=0.0, feedback_bits=0,
    queue_s=0.25, airtime_modelled_s=0.5, airtime_observed_s=0.125, came_at_s=1000.0,
)  # fmt: skip


def frame_id(i: int) -> bytes:
    return hashlib.sha256(b"id%d" % i).digest()[:16]


def frame(i: int = 0, **fields: Any) -> m.Arrival:
    base: dict[str, Any] = {
        "frame_id": frame_id(i), "draw_key": bytes(32), "point": POINT, "k": K, "pilots": 0,
        "codec": "codec", "height": 2, "width": 3, "label": "photo", "image_sha256": bytes(32),
        "settings": "air", "air": AIR,
    }  # fmt: skip
    base |= fields
    return m.Arrival(**({"uses": base["k"] + base["pilots"]} | base))


class FakeDecoder:
    """Grey as the first symbol says; remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[np.ndarray, float, complex, tuple[int, int]]] = []
        self.noise: list[np.ndarray | None] = []
        self.before: Callable[[], None] = lambda: None

    rounds = 1
    zero_forcing = False

    def decode(self, given: ToDecode) -> np.ndarray:
        self.before()
        self.calls.append((given.symbols, given.state.snr_db, given.state.gain, given.size))
        self.noise.append(given.noise_variance)
        return np.full((*given.size, 3), 128, np.uint8)

    def encode(self, given: ToEncode) -> Signal[np.ndarray]:
        return Signal(null_symbols(K))

    def said(self, given: ToDecode) -> Beside:
        return Beside()

    def conditioned(self, state: ChannelState) -> ChannelState:
        return state


def score(images: Sequence[np.ndarray], reference: np.ndarray) -> list[dict[str, float | None]]:
    def one(image: np.ndarray) -> dict[str, float | None]:
        assert image.shape == reference.shape
        psnr = math.inf if np.array_equal(image, reference) else 1 / 3
        return {"psnr": psnr, "ssim": 1.0, "ms_ssim": None, "lpips": math.nan}

    return [one(image) for image in images]


class WorkerBench:
    """A worker that works in the test's own thread."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder, self.decoder, self.woken = folder, FakeDecoder(), 0
        settings = RxSettings.model_validate({"name": "rx1"} | options)
        self.store = ResultStore(folder, "rx1", "s", "process", settings.save_images)
        self.now = 100.0
        self.worker = Worker(
            settings, "codec", Decoders(self.decoder), None, References(settings.reference), score,
            self.store, self._wake, self._clock,
        )  # fmt: skip

    def _wake(self) -> None:
        self.woken = self.worker.events.qsize()

    def _clock(self) -> float:
        self.now += 0.125
        return self.now

    def work(self, *tasks: Task | Both | list[bytes]) -> list[Event]:
        for task in (*tasks, None):
            self.worker.tasks.put(task)
        self.worker.run()
        events = [self.worker.events.get() for _ in range(self.worker.events.qsize())]
        assert self.woken == len(events)  # what came last was announced, too
        self.woken = 0
        return events


class FakeRefiner:
    """Grey 100, three steps an image; remembers its batches and tells when it is at a step."""

    model, solver, steps, guidance_scale = "model-1", "ddim", 3, 0.5

    def __init__(self) -> None:
        self.batches: list[list[ToRefine]] = []
        self.at_step: Callable[[int], None] = lambda step: None

    def limit(self, size: tuple[int, int]) -> int:
        return 3

    def refine(
        self,
        jobs: Sequence[ToRefine],
        on_step: Callable[[int, int], None],
        on_estimate: OnEstimate | None = None,
    ) -> list[Refined]:
        self.batches.append(list(jobs))
        for step in range(self.steps):
            self.at_step(step)
            on_step(step, self.steps)
        seconds = {"caption_s": 0.1, "text_s": 0.2, "diffusion_s": 0.3, "vae_s": 0.4}
        return [Refined(0 * job.pixels + 100, "a boat", seconds, "tiled") for job in jobs]


class RefiningBench(WorkerBench):
    """Ends when as many frames are finished as were given."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        self.refiner = FakeRefiner()
        self.worker._refiner = self.refiner  # type: ignore[assignment]
        self.finished = self.expected = 0
        self.seen: list[Event] = []

    def _wake(self) -> None:
        super()._wake()
        self.seen.append(self.worker.events.get())
        if isinstance(self.seen[-1], Stored | Failed):
            self.finished += 1
            if self.finished == self.expected:
                self.worker.tasks.put(None)

    def give(self, *tasks: Task | Both) -> None:
        self.expected += sum(2 if isinstance(each, Both) else 1 for each in tasks)
        for each in tasks:
            self.worker.tasks.put(each)

    def run(self, *tasks: Task | Both) -> list[Event]:
        self.give(*tasks)
        self.worker.run()
        seen, self.seen = self.seen, []
        return seen


GAIN = np.array([2j], np.complex64)
SENT = np.exp(1j * np.arange(K)).astype(np.complex64)
GREY = bytes([128]) * 18


def task(
    made: m.Arrival | None = None,
    symbols: Any = None,
    h: Any = GAIN,
    reference: bytes = GREY,
    waveform: Waveform | None = None,
) -> Task:
    payload = GAIN[0] * SENT if symbols is None else symbols
    parts = (np.asarray(payload, "<c8").tobytes(), np.asarray(h, "<c8").tobytes(), b"", reference)
    made = made or frame()
    waveform = waveform or Waveform()
    law = Laws(waveform).of(made.point.channel)
    return Task(made, parts, 100.0, law, waveform.packets)
