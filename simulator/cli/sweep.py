"""``diffjscc sweep``: an experiment, such as a figure of the paper, by one command."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from simulator.cli.shared import Assign
from simulator.errors import IncompleteError

if TYPE_CHECKING:
    from rich.console import Console

    from simulator.evaluation.experiment import Experiment
    from simulator.evaluation.sweep import MakeEngine, Swept


def sweep(
    config: Annotated[
        str, typer.Argument(help="TOML file, or a shipped experiment such as figure-4.")
    ],
    images: Annotated[
        list[str] | None,
        typer.Option(help="Images or folders; may be repeated.", metavar="<path>"),
    ] = None,
    model: Annotated[str | None, typer.Option(help="compact, quick, a folder or a hub id.")] = None,
    codec: Annotated[str | None, typer.Option(help="Codec folder; default: the model's.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the sweep; default: runs/CONFIG.")
    ] = None,
    repeats: Annotated[int | None, typer.Option(help="How many times each image is sent.")] = None,
    limit_images: Annotated[
        int | None, typer.Option(help="Number of images; default: all.")
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME or NAME:KEY=VALUE,... instead of the configuration's; may be repeated.",
            metavar="<str>",
        ),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(help="Method beside the configuration's; may be repeated.", metavar="<str>"),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="Metric instead of the configuration's; may be repeated.", metavar="<str>"
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Narrow a list: snr_db=1,10 or cbr=1/384 or methods=jscc.",
            metavar="<name=values>",
        ),
    ] = None,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            help="Python file that adds methods, codecs, kinds of channel, receivers and metrics; "
            "may be repeated.",
            metavar="<path>",
        ),
    ] = None,
    assign: Assign = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps; default: auto.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="ray: on a cluster; needs its extra.")
    ] = "local",
    workers: Annotated[
        int, typer.Option(help="Processes, or actors of Ray; 0: one for each core.", min=0)
    ] = 0,
    ray_address: Annotated[
        str, typer.Option(help="Address of a Ray cluster; empty: one on this machine.")
    ] = "",
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave methods out that cannot run here.")
    ] = False,
) -> None:
    """Run an experiment: every method at every point.

    Tables and plots are written at the end. The same command again goes on where an interrupted
    one stopped. Exit codes: 3 bad settings or no image, 4 a model is missing, 7 complete, but an
    image, or a method at some points, was refused, 8 storage, 9 a package or method is missing,
    130 interrupted.
    """
    from simulator.evaluation.experiment import find_config, make_experiment

    given = {
        "images": images,
        "model": model,
        "codec": codec,
        "repeats": repeats,
        "limit_images": limit_images,
        "methods": methods,
        "add": add,
        "metrics": metrics,
        "plugins": plugin,
        "device": device,
    }
    path = find_config(config)
    overrides = {name: value for name, value in given.items() if value not in (None, [])}
    experiment = make_experiment(path, overrides, assign or (), only or ())
    folder = out or Path("runs") / path.stem
    make: MakeEngine | None = None
    if engine == "ray":
        from simulator.evaluation.ray_engine import ray_engine

        make = ray_engine(workers or os.cpu_count() or 1, ray_address)
    show(run(experiment, folder, workers, make, skip_missing), folder)


def run(
    experiment: Experiment,
    folder: Path,
    workers: int = 0,
    make_engine: MakeEngine | None = None,
    skip_missing: bool = False,
) -> Swept:
    """A sweep with progress on standard error; ``make_engine``: None for ``workers`` processes."""
    from rich.console import Console

    from simulator.evaluation.process_engine import process_engine
    from simulator.evaluation.sweep import run_sweep

    with sweep_progress(Console(stderr=True)) as (on_progress, say):
        made = make_engine or process_engine(workers)
        return run_sweep(experiment, folder, made, skip_missing, on_progress, say)


@contextmanager
def sweep_progress(
    console: Console,
) -> Iterator[tuple[Callable[[int, int, str], None], Callable[[str], None]]]:
    """``(on_progress, say)``: a bar with the time that is left by measurement, and lines."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from simulator.cli.progress import KnownCountColumn, PlainLines

    columns = (
        BarColumn(),
        KnownCountColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("loading models", total=None)
        lines = PlainLines(console)

        def update(done: int, total: int, left: str) -> None:
            progress.update(task, completed=done, total=total, description=left)
            lines.say(f"{done}/{total}, {left}")

        def say(text: str) -> None:
            console.print(text, markup=False, soft_wrap=True)

        yield update, say


def show(swept: Swept, folder: Path, details: Sequence[str] = ()) -> None:
    """The table with these ``details`` of the rows, the gains, what was left out and where
    everything is. Exit code 7 for points that a method refused."""
    from simulator.evaluation.means import gain_text
    from simulator.evaluation.sweep_table import cost_tables, tables_of
    from simulator.metrics.known import metric_of
    from simulator.output import WIDTH, Output
    from simulator.report.html import closing_report

    console = Output()
    wide = max(console.width, WIDTH)
    for table in (*tables_of(swept, details, wide), *cost_tables(swept, wide)):
        console.table(table)
    for gain in swept.gains:
        console.print(gain_text(gain), markup=False, soft_wrap=True)
    for key, reason in swept.unavailable.items():
        label = metric_of(key).label
        console.print(f"not measured: {label}: {reason}", markup=False, soft_wrap=True)
    files = "means.csv, gains.csv, rows.csv, figure.png, figure.svg"
    files += ", costs.csv" if swept.spent else ""
    console.print(f"sweep folder: {folder} ({files})", markup=False, soft_wrap=True)
    page = closing_report(folder)
    if page is not None:
        console.print(f"report: {page}", markup=False, soft_wrap=True)
    if swept.refused:
        told = "\n".join(f"  {count} of {reason}" for reason, count in swept.refused.items())
        raise IncompleteError(f"{sum(swept.refused.values())} results were refused:\n{told}")
