"""A whole model within a given time: ``diffjscc train all --help``.

    codec -> restoration -> autoencoder -> prior -> control module
    -> the control module again, on what few steps make

Each training takes its share of the minutes; what it takes more, those after it have less, down
to half of theirs. Run again, it goes on with the one that was interrupted; those that are done say
so at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from simulator.errors import SettingsError
from simulator.training.autoencoder import train_autoencoder
from simulator.training.checks import check_options
from simulator.training.clock import Clock
from simulator.training.codec import train_codec
from simulator.training.control import train_control
from simulator.training.options import (
    AutoencoderTraining,
    CodecTraining,
    ControlTraining,
    PriorTraining,
    Recipe,
    RestorationTraining,
)
from simulator.training.prior import train_prior
from simulator.training.progress import Progress
from simulator.training.restoration import (
    check_restoration,
    train_restoration,
)

Report = Callable[[Progress], None]
Stop = Callable[[], bool]
OnCache = Callable[[int, int], None]
Training = Callable[[Report, Stop, OnCache], Any]
Timed = Callable[[Report, Stop, OnCache, Clock], Any]

# Of the minutes; what is left is for the last step of each, and for files.
SHARES = {
    "codec": 0.25,
    "restoration": 0.2,
    "autoencoder": 0.15,
    "prior": 0.1,
    "control": 0.1,
    "finish": 0.1,
}
LATE = 0.5  # of its minutes, at most, may a training lose to those before it
LARGE = 0.4  # of the codec's batches: whole images are larger than its crops
FIRST = "first-control"  # folder of the control module before its last training


def trainings(recipe: Recipe, out: Path) -> Iterator[tuple[str, Training]]:
    """Name and function of each training, in order. Raises ``SettingsError``."""
    if recipe.minutes <= 0:
        raise SettingsError("say how long to train in all: --minutes M.")
    if recipe.batch_factor < 1:
        raise SettingsError("--batch-factor: 1 or more.")
    times = {name: share * recipe.minutes for name, share in SHARES.items()}
    factor = recipe.batch_factor
    common: dict[str, Any] = {
        "data": recipe.data,
        "validation": recipe.validation,
        "seed": recipe.seed,
        "threads": recipe.threads,
    }
    looped = common | {"device": recipe.device, "precision": recipe.precision}
    codec = CodecTraining(
        minutes=times["codec"],
        batch=8 * factor,
        large=LARGE,
        compile=recipe.compile,
        **looped,
    )
    restoration = RestorationTraining(
        minutes=times["restoration"],
        batch=4 * factor,
        codec=str(out / "jscc"),
        init=recipe.init,
        small=recipe.init == "random",
        width=48,
        growth=24,
        blocks=3,
        adversarial=recipe.adversarial,
        compile=recipe.compile,
        **looped,
    )
    autoencoder = AutoencoderTraining(minutes=times["autoencoder"], batch=12 * factor, **looped)
    prior = PriorTraining(
        minutes=times["prior"], batch=16 * factor, captioner=recipe.captioner, **looped
    )
    control = ControlTraining(
        minutes=times["control"],
        batch=16 * factor,
        captioner=recipe.captioner,
        unfreeze=recipe.unfreeze,
        model=str(out),
        cache=str(out / "training" / "latents"),
        **looped,
    )
    first = out / "training" / FIRST
    finish = ControlTraining(
        minutes=times["finish"],
        batch=8 * factor,
        captioner=recipe.captioner,
        unfreeze=recipe.unfreeze,
        model=str(first),
        cache=str(out / "training" / "latents"),
        fresh=False,
        sampled=True,
        lpips=recipe.lpips,
        adversarial=recipe.adversarial,
        learning_rate=control.learning_rate / 2,
        sampling_steps=2,
        color_fix="wavelet",
        **looped,
    )
    check_restoration(restoration)
    check_options(codec)
    for options in (restoration, autoencoder, prior, control, finish):
        # The last one's, too, before the first one's hours; of the same validation once.
        check_options(replace(options, validation=()))

    def make_codec(report: Report, stop: Stop, _: OnCache, clock: Clock) -> None:
        from simulator.jscc.export import export_encoder

        train_codec(codec, out / "jscc", report, stop, clock)
        export_encoder(str(out / "jscc"))

    late_s = -(1 - sum(SHARES.values())) * 60 * recipe.minutes

    def timed(minutes: float, train: Timed) -> Training:
        def run(report: Report, stop: Stop, on_cache: OnCache) -> None:
            nonlocal late_s
            clock = Clock(min(max(0.0, late_s), LATE * 60 * minutes))
            train(report, stop, on_cache, clock)
            late_s += clock.look() - 60 * minutes

        return run

    made: dict[str, Timed] = {
        "codec": make_codec,
        "restoration": lambda report, stop, _, clock: train_restoration(
            restoration, out, report, stop, clock
        ),
        "autoencoder": lambda report, stop, _, clock: train_autoencoder(
            autoencoder, out, report, stop, clock
        ),
        "prior": lambda *told: train_prior(prior, out, *told),
        "control": lambda *told: train_control(control, first, *told),
        "finish": lambda *told: train_control(finish, out, *told),
    }
    for name, train in made.items():
        yield name, timed(times[name], train)
