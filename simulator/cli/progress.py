"""Live progress lines (rich); plain lines now and then where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from simulator.errors import missing_package

if TYPE_CHECKING:
    from simulator.training.progress import Progress as TrainingProgress


class KnownCountColumn(MofNCompleteColumn):
    """``3/24``; nothing where the total is not known yet."""

    def render(self, task: Task) -> Text:
        return Text("") if task.total is None else super().render(task)


def make_progress(*extra: TextColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        KnownCountColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        *extra,
        console=Console(stderr=True),
    )


class RunProgress(Protocol):
    def __call__(self, done: int, total: int, phase: str = ..., /) -> None: ...


class PlainLines:
    """A line of text now and then, for logs: rich shows nothing where there is no terminal."""

    def __init__(self, console: Console, pause_s: float = 30.0) -> None:
        self._silent = console.is_terminal
        self._console, self._pause_s = console, pause_s
        self._said_at = time.monotonic()

    def say(self, text: str) -> None:
        if not self._silent and time.monotonic() - self._said_at > self._pause_s:
            self._said_at = time.monotonic()
            self._console.print(text, soft_wrap=True)


@contextmanager
def run_progress(label: str) -> Iterator[RunProgress]:
    """``update(done, total, phase)`` for a run; nothing is shown before the first."""
    with make_progress() as progress:
        task = progress.add_task(label, total=None, visible=False)
        lines = PlainLines(progress.console)

        def update(done: int, total: int, phase: str = label) -> None:
            # Of a source nobody knows how much comes.
            known = total or None
            progress.update(task, completed=done, total=known, description=phase, visible=True)
            lines.say(f"{phase} {done}/{total}" if total else f"{phase}, {done} frames")

        yield update


@contextmanager
def training_progress(events: Path | None) -> Iterator[Callable[[TrainingProgress], None]]:
    """``report(progress)`` for a training; ``events`` is a folder for TensorBoard, or None."""
    with ExitStack() as stack:
        writer = None
        if events is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise missing_package("--tensorboard", "tensorboard", "tensorboard") from None
            writer = SummaryWriter(str(events / "tensorboard"))
            stack.callback(writer.close)
        progress = stack.enter_context(make_progress(TextColumn("{task.fields[loss]}")))
        task = progress.add_task("training", total=None, loss="")
        lines = PlainLines(progress.console)
        told: list[int] = []

        def report(now: TrainingProgress) -> None:
            if not told:  # a width that was meant otherwise shows before an hour has passed
                told.append(now.parameters)
                progress.console.print(f"parameters that are trained: {now.parameters / 1e6:.3g} M")
            text = f"loss {now.loss:.4f}"
            if now.skipped:
                text += f"  ({now.skipped} steps skipped)"
            if now.psnr == now.psnr:  # NaN: not measured yet
                text += f"  validation {now.psnr:.2f} dB"
            if now.lpips_vgg == now.lpips_vgg:
                text += f", LPIPS-VGG {now.lpips_vgg:.3f}"
            progress.update(task, completed=now.step, total=now.steps or None, loss=text)
            lines.say(f"step {now.step}/{now.steps or '?'}  {now.wall_s / 60:.1f} min  {text}")
            if writer is not None:
                writer.add_scalar("loss", now.loss, now.step)
                if now.psnr == now.psnr:
                    writer.add_scalar("validation PSNR, dB", now.psnr, now.step)
                if now.lpips_vgg == now.lpips_vgg:
                    writer.add_scalar("validation LPIPS-VGG", now.lpips_vgg, now.step)

        yield report
