"""Live progress lines (rich); plain lines now and then where there is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from simulator.errors import MissingPackageError

if TYPE_CHECKING:
    from simulator.training.codec import Progress as TrainingProgress


def make_progress(*extra: TextColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        *extra,
        console=Console(stderr=True),
    )


@contextmanager
def run_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """``update(done, total)`` for a run."""
    with make_progress() as progress:
        task = progress.add_task(label, total=None)

        def update(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

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
                raise MissingPackageError(
                    '--tensorboard needs it: pip install "diffjscc[tensorboard]".'
                ) from None
            writer = SummaryWriter(str(events / "tensorboard"))
            stack.callback(writer.close)
        progress = stack.enter_context(make_progress(TextColumn("{task.fields[loss]}")))
        task = progress.add_task("training", total=None, loss="")

        def report(now: TrainingProgress) -> None:
            text = f"loss {now.loss:.4f}  validation {now.psnr:.2f} dB"
            progress.update(task, completed=now.step, total=now.steps or None, loss=text)
            if writer is not None:
                writer.add_scalar("loss", now.loss, now.step)
                if now.psnr == now.psnr:
                    writer.add_scalar("validation PSNR, dB", now.psnr, now.step)

        yield report
