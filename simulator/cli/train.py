"""``diffjscc train``: the codec, the autoencoder, the prior and the control module.

The options of each command are the fields of its dataclass in ``simulator.training.options``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli.generated import with_options
from simulator.training.options import (
    AutoencoderTraining,
    CodecTraining,
    ControlTraining,
    LoopOptions,
    OraNetTraining,
    PriorTraining,
    Recipe,
    RestorationTraining,
    with_recipe,
)

if TYPE_CHECKING:
    from simulator.training.progress import Progress

train = typer.Typer(rich_markup_mode=None)

TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write events beside the checkpoints.")
]

FEW_MINUTES, FEW_FOR_ALL = 2, 10


def say(text: str, err: bool = False) -> None:
    """By one process, where several train."""
    if os.environ.get("RANK", "0") == "0":
        typer.echo(text, err=err)


def say_if_few(minutes: float, least: float) -> None:
    """Told before anything is computed."""
    if 0 < minutes < least:
        say(
            f"--minutes {minutes:g}: enough to try the command, too few for a model of use.",
            err=True,
        )


@contextmanager
def training(
    events: Path | None, options: LoopOptions | None = None
) -> Iterator[tuple[Callable[[Progress], None], Callable[[], bool]]]:
    """Live progress, and whether the user has asked to stop."""
    from simulator.cli.progress import training_progress
    from simulator.plugins import load_plugins
    from simulator.process import Stopper

    load_plugins(options.plugins if options is not None else ())
    if options is not None and not options.steps:
        say_if_few(options.minutes, FEW_MINUTES)
    stop = Stopper()
    stop.install()
    with training_progress(events) as report:
        yield report, lambda: bool(stop)


@train.command("codec")
@with_options(CodecTraining)
def train_codec(
    options: CodecTraining,
    out: Annotated[Path, typer.Option(help="Codec folder; it holds the checkpoints, too.")],
    tensorboard: TensorBoard = False,
) -> None:
    """Train the codec: stage 1, equation (6).

    Run again to resume.
    """
    from simulator.training.codec import train_codec as run

    with training(out / "training" if tensorboard else None, options) as (report, stop):
        run(options, out, report, stop)
    say(f"codec folder: {out}")


@train.command("restoration")
@with_options(RestorationTraining)
def train_restoration(
    options: RestorationTraining,
    out: Annotated[Path, typer.Option(help="Model folder; restoration/ is made in it.")],
    tensorboard: TensorBoard = False,
) -> None:
    """Train the restoration of previews in one pass.

    Run again to resume.
    """
    from simulator.training.restoration import train_restoration as run

    with training(out / "training" if tensorboard else None, options) as (report, stop):
        say(f"restoration: {run(options, out, report, stop)}")


@train.command("oranet")
@with_options(OraNetTraining)
def train_oranet(
    options: OraNetTraining,
    out: Annotated[
        Path, typer.Option(help="Codec folder; a new one becomes a copy of that of --codec.")
    ],
    tensorboard: TensorBoard = False,
) -> None:
    """Train the predictor of PSNR, for --target-psnr.

    Run again to resume.
    """
    from simulator.cli.progress import run_progress
    from simulator.training.oranet import train_oranet as run

    with (
        run_progress("crops") as on_samples,
        training(out / "training" if tensorboard else None, options) as (report, stop),
    ):
        path = run(options, out, report, stop, on_samples)
    say(f"predictor: {path}")


@train.command("blend")
def train_blend(
    first: Annotated[str, typer.Argument(help="Model folder, before a critic.")],
    second: Annotated[str, typer.Argument(help="Model folder, after it.")],
    out: Annotated[Path, typer.Option(help="Model folder; restoration/ is made in it.")],
    weight: Annotated[float, typer.Option(help="Weight of the second, 0 to 1.")] = 0.6,
) -> None:
    """Make a restoration between two.

    The weights of two networks of one shape are interpolated.
    """
    from simulator.training.restoration import blend

    say(f"restoration: {blend(first, second, weight, out)}")


@train.command("autoencoder")
@with_options(AutoencoderTraining)
def train_autoencoder(
    options: AutoencoderTraining,
    out: Annotated[Path, typer.Option(help="Model folder; vae/ and training/ are made in it.")],
    tensorboard: TensorBoard = False,
) -> None:
    """Train the latent space: an AutoencoderKL, f = 8.

    Run again to resume.
    """
    from simulator.training.autoencoder import train_autoencoder as run

    with training(out / "training" if tensorboard else None, options) as (report, stop):
        say(f"autoencoder: {run(options, out, report, stop)}")


@train.command("prior")
@with_options(PriorTraining)
def train_prior(
    options: PriorTraining,
    out: Annotated[
        Path, typer.Option(help="Model folder; unet/ and text_encoder/ are made in it.")
    ],
    tensorboard: TensorBoard = False,
) -> None:
    """Train the prior: text-conditioned latent diffusion.

    Run again to resume.
    """
    from simulator.cli.progress import run_progress
    from simulator.training.prior import train_prior as run

    with (
        run_progress("latents") as on_cache,
        training(out / "training" if tensorboard else None, options) as (report, stop),
    ):
        path = run(options, out, report, stop, on_cache)
    say(f"prior: {path}")


@train.command("control")
@with_options(ControlTraining, with_recipe)
def train_control(
    options: ControlTraining,
    out: Annotated[Path, typer.Option(help="Model folder; it is complete afterwards.")],
    tensorboard: TensorBoard = False,
) -> None:
    """Train the control module: stage 2, equation (15).

    Run again to resume.
    """
    from simulator.cli.progress import run_progress
    from simulator.training.control import train_control as run

    with (
        run_progress("previews") as on_cache,
        training(out / "training" if tensorboard else None, options) as (report, stop),
    ):
        path = run(options, out, report, stop, on_cache)
    say(f"model folder: {path}")


@train.command("all")
@with_options(Recipe)
def train_all(
    options: Recipe,
    out: Annotated[Path, typer.Option(help="Model folder; it is complete afterwards.")],
) -> None:
    """Train a whole model within a given time.

    Codec, restoration, autoencoder, prior and control module take their shares of the minutes.
    Run again to resume.
    """
    from simulator.cli.progress import run_progress
    from simulator.training.recipe import trainings

    say_if_few(options.minutes, FEW_FOR_ALL)
    for name, run in trainings(options, out):
        say(f"{name}:")
        with run_progress("latents") as on_cache, training(None) as (report, stop):
            run(report, stop, on_cache)
    say(f"model folder: {out}")
