"""One training loop: codec, restoration, autoencoder, prior and control module.

    batch(step) -> each player: loss, gradient, Adam step, moving average -> checkpoint by time

Everything random in a step is a function of (seed, step, process), so that an interrupted
training goes on with exactly the steps it would have made. Its schedule spans ``steps``, or else
``minutes`` of this machine's time: then it ends in time, whatever else the machine does
(``span.py``).
``accelerate`` carries it to one process or many: run the same command under
``accelerate launch -m simulator.cli``.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast, reduce
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.optim import AdamW

from simulator.errors import SettingsError
from simulator.link.text import to_json
from simulator.training.checks import check_same
from simulator.training.clock import Clock
from simulator.training.graphs import Graphs
from simulator.training.options import LoopOptions
from simulator.training.player import averaged, load_players, save_players
from simulator.training.progress import Progress
from simulator.training.schedule import learning_rate
from simulator.training.span import Span
from simulator.training.stage import Batch, Stage

log = logging.getLogger("training")

TELL_EVERY = 10  # steps: what an accelerator has computed is waited for, and processes agree
T = TypeVar("T")


def read_ahead(make: Callable[[int], T], start: int, stop: int, ahead: int = 3) -> Iterator[T]:
    """``make(start) ... make(stop - 1)``, made by threads before they are asked for."""
    with ThreadPoolExecutor(ahead, thread_name_prefix="batches") as pool:
        queue = [pool.submit(make, i) for i in range(start, min(start + ahead, stop))]
        try:
            for index in range(start, stop):
                made = queue.pop(0).result()
                if index + ahead < stop:
                    queue.append(pool.submit(make, index + ahead))
                yield made
        finally:
            for each in queue:
                each.cancel()


def make_accelerator(options: LoopOptions, partly: bool = False) -> Accelerator:
    """The device and precision of this training. ``partly``: as a stage says. Raises
    ``SettingsError``."""
    if options.device not in ("auto", "cpu", "cuda", "mps"):
        raise SettingsError(
            f"--device {options.device}: give auto, cpu, cuda or mps; one GPU of several is "
            "chosen by the environment variable CUDA_VISIBLE_DEVICES."
        )
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda: torch sees no CUDA device here; use --device cpu.")
    unused = DistributedDataParallelKwargs(find_unused_parameters=partly)
    return Accelerator(
        mixed_precision=options.precision, cpu=options.device == "cpu", kwargs_handlers=[unused]
    )


class Loop:
    """Trains a stage; checkpoints, pictures and validations go to ``folder``.

    ``clock`` counts from when the training began, of which the loop may be only a part.
    """

    def __init__(
        self,
        stage: Stage,
        options: LoopOptions,
        folder: Path,
        report: Callable[[Progress], None] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
    ) -> None:
        self.stage, self.options, self.folder = stage, options, folder
        self.report, self.stop = report, stop
        self._clock = clock or Clock()
        self.checkpoint = folder / f"{stage.name}.safetensors"
        self.progress = Progress(steps=options.steps)
        if options.threads:
            torch.set_num_threads(options.threads)
        self.accelerator = make_accelerator(options, stage.partly)
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(
            options.precision, torch.float32
        )
        folder.mkdir(parents=True, exist_ok=True)
        device = self.accelerator.device
        if device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        compiled = stage.compiled()
        graphs = bool(compiled) and device.type == "cuda" and self.accelerator.num_processes == 1
        self.stage.place(device, dtype)
        self._wrapped: list[nn.Module] = []
        for player in stage.players:
            player.network.to(device).train()
            parameters = [p for _, p in player.parameters()]
            rate: float | Tensor = player.learning_rate
            if graphs:
                rate = torch.tensor(rate, device=device)
            player.adam = AdamW(
                parameters,
                rate,
                weight_decay=options.weight_decay,
                fused=True,
                capturable=graphs,
            )
            if player.averaged and options.ema:
                player.ema = EMAModel(
                    parameters,
                    decay=options.ema,
                    use_ema_warmup=True,
                    foreach=device.type == "cuda",
                )
        if self.checkpoint.is_file():
            record = load_players(
                self.checkpoint,
                stage.players,
                lambda before: check_same(before["options"], options, self.checkpoint),
            )
            self.progress = Progress(**record["progress"])
        first = stage.players[0]
        self.progress.parameters = sum(each.numel() for _, each in first.parameters())
        self._span = Span(options, self.progress, self._clock.late_s)
        for player in stage.players:
            self._wrapped.append(self.accelerator.prepare(player.network))
        if compiled:
            # Blocks of several widths at several sizes share one forward function.
            torch._dynamo.config.recompile_limit = 64
        for module in compiled:
            module.compile(dynamic=False)
        self._graphs = Graphs(self._update) if graphs else None
        self._loss = torch.tensor(math.nan)
        self._skipped, self._bad = self.progress.skipped, torch.zeros((), device=device)

    def run(self) -> Progress:
        """All steps. A ``stop`` writes a checkpoint and raises ``KeyboardInterrupt``."""
        progress, options = self.progress, self.options
        if progress.step == 0:
            if self._span.first_look():
                self.look()
            self._count()
            progress.before_s = progress.wall_s
        else:
            self._count()
        self._saved = self._validated = time.monotonic()
        bound = options.steps or 1 << 40
        if self._span.done() >= 1:
            bound = progress.step
        torch.backends.cudnn.benchmark = True  # crops have one size
        for batches in read_ahead(self._batches, progress.step, bound):
            self._step(batches)
            progress.step += 1
            self._count()
            done = self._span.done()
            if not options.steps:
                progress.steps = max(progress.step, round(progress.step / done))
            if self.accelerator.is_main_process:
                self.report(progress)
                if few := self._span.few():
                    log.warning("%s", few)
            self._by_time()
            if done >= 1:  # asked before the main process validates, which others do not know of
                break
        progress.steps = progress.step
        self._save()
        self.accelerator.wait_for_everyone()
        return progress

    def _count(self) -> None:
        """Time goes on. Under ``minutes`` all processes keep that of the main one, so that they
        end at the same step."""
        progress = self.progress
        wall_s, cpu_s = self._clock.passed()
        if self.accelerator.num_processes > 1 and not self.options.steps:
            own = [wall_s, progress.look_s, progress.end_s]
            told = broadcast(torch.tensor(own, device=self.accelerator.device))
            wall_s, progress.look_s, progress.end_s = told.tolist()
        progress.wall_s, progress.cpu_s = progress.wall_s + wall_s, progress.cpu_s + cpu_s

    def _batches(self, step: int) -> list[Batch]:
        process = self.accelerator.process_index
        return [self.stage.batch(step, process, i) for i in range(self.options.accumulate)]

    def _step(self, batches: list[Batch]) -> None:
        options, progress, device = self.options, self.progress, self.accelerator.device
        for player in self.stage.players:
            peak, warmup = player.learning_rate, options.warmup
            rate = learning_rate(progress.step, self._span.done(), peak, warmup, options.decay)
            for group in player.adam.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
        done = {"done": self._span.done()}
        moved = [{k: to_device(v, device) for k, v in each.items()} for each in batches]
        moved = [self.stage.prepare(each) | done for each in moved]
        key = self.stage.recorded(moved[0]) if self._graphs and len(moved) == 1 else None
        if self._graphs and key is not None:
            self._loss = self._graphs.run(key, moved[0])
        else:
            self._loss = self._update(moved)
        for player in self.stage.players:
            if player.ema:
                player.ema.step([p for _, p in player.parameters()])
        if device.type == "cpu" or progress.step % TELL_EVERY == 0:
            progress.loss, progress.skipped = float(self._loss), self._skipped + int(self._bad)

    def _update(self, batches: list[Batch]) -> Tensor:
        """One Adam step of each player; the loss of the first. Asks the device nothing."""
        first = self._loss
        for player, network in zip(self.stage.players, self._wrapped, strict=True):
            losses = []
            for batch in batches:
                with self.accelerator.autocast():
                    terms = network(batch, self.progress.step)
                loss = torch.stack([term.float() for term in terms.values()]).sum()
                self.accelerator.backward(loss / len(batches))
                losses.append(loss.detach())
            parameters = [p for _, p in player.parameters()]
            clip_norm = self.options.clip_norm or math.inf
            norm = self.accelerator.clip_grad_norm_(parameters, clip_norm)
            # One bad batch must not spoil the weights: Adam then keeps them. Nothing is asked of
            # the device, so that an accelerator need not wait for Python.
            bad = (~torch.isfinite(torch.as_tensor(norm))).float()
            player.adam.found_inf = bad  # type: ignore[attr-defined]
            player.adam.step()
            player.adam.zero_grad(set_to_none=True)
            self._bad += bad
            if player is self.stage.players[0]:
                first = torch.stack(losses).mean()
        return first

    def _by_time(self) -> None:
        options, now = self.options, time.monotonic()
        if self._stopped():
            self._save()
            self.accelerator.wait_for_everyone()
            raise KeyboardInterrupt
        if now - self._saved > options.checkpoint_minutes * 60:
            self._save()
            self._saved = now
        if now - self._validated > options.validate_minutes * 60 and self._span.look():
            self.look()
            self._validated = time.monotonic()

    def _stopped(self) -> bool:
        """Whether a process was asked to stop; all of them hear of it at the same step."""
        accelerator = self.accelerator
        if accelerator.num_processes == 1:
            return self.stop()
        if accelerator.device.type != "cpu" and self.progress.step % TELL_EVERY:
            return False  # an accelerator would be waited for
        asked = torch.tensor(float(self.stop()), device=accelerator.device)
        return bool(reduce(asked))

    def look(self) -> dict[str, float]:
        """Validate and draw a picture with the averaged weights; appends to a log."""
        if not self.accelerator.is_main_process:
            return {}
        began = time.monotonic()
        torch.backends.cudnn.benchmark = False  # whole images have many
        # Images of many sizes: each would be compiled anew.
        eager = torch.compiler.set_stance("force_eager")
        with averaged(self.stage.players), torch.no_grad(), eager:
            table = self.stage.validate()
            self.stage.picture(self.folder / f"{self.stage.name}-{self.progress.step:07d}.jpg")
        torch.backends.cudnn.benchmark = True
        self.progress.look_s = time.monotonic() - began
        self.progress.psnr = table.get("psnr", math.nan)
        self.progress.lpips_vgg = table.get("lpips_vgg", math.nan)
        with (self.folder / f"{self.stage.name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(to_json({**self.progress.record(), **table}) + "\n")
        return table

    def last_look(self) -> dict[str, float]:
        """``look`` at the end of the training; empty where its minutes have no time for that."""
        if self._span.last_look():
            return self.look()
        if self.options.validation and self.accelerator.is_main_process:
            log.warning("no validation at the end: the minutes are too few for it.")
        return {}

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            record = {"options": asdict(self.options), "progress": self.progress.record()}
            save_players(self.checkpoint, self.stage.players, record)


def to_device(value: Any, device: torch.device) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
