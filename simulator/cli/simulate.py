"""``diffjscc simulate``: tx, channel and rx on this machine; and how a run ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from simulator.cli.shared import (
    Assign,
    Cbr,
    Channel,
    Config,
    Follow,
    Fps,
    Http,
    Images,
    Keep,
    Model,
    Out,
    Plugin,
    Reference,
    Refine,
    Return,
    SnrDb,
    Stdin,
    TargetFps,
    TargetPsnr,
    VideoFrom,
    WhenBusy,
    settings_from,
    source_from,
    switched,
)
from simulator.errors import IncompleteError
from simulator.link.rows import Row, is_lost

MAX_REASONS = 10
SLOW_S = 3.0  # for an image: whoever waits longer may want the quick model


def simulate(
    images: Images = None,
    follow: Follow = None,
    video: VideoFrom = None,
    http: Http = None,
    stdin: Stdin = False,
    fps: Fps = None,
    when_busy: WhenBusy = None,
    back: Return = None,
    cbr: Cbr = None,
    target_psnr: TargetPsnr = None,
    target_fps: TargetFps = None,
    snr_db: SnrDb = None,
    channel: Channel = None,
    receivers: Annotated[int | None, typer.Option(help="How many rx processes.")] = None,
    repeats: Annotated[int | None, typer.Option(help="How many times each image is sent.")] = None,
    model: Model = None,
    refine: Refine = None,
    codec: Annotated[
        str | None, typer.Option(help="Shipped name or codec folder; default: the model's.")
    ] = None,
    plugin: Plugin = None,
    reference: Reference = None,
    seed: Annotated[int | None, typer.Option(help="Seed of gains and noise.")] = None,
    name: Annotated[str | None, typer.Option(help="Part of the run folder's name.")] = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="Encrypt the link, with keys made for this run.")
    ] = False,
    keep: Keep = None,
    out: Out = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out as it was.")
    ] = False,
    config: Config = None,
    assign: Assign = None,
) -> None:
    """Run all three processes on this machine, supervised."""
    from simulator import launch
    from simulator.cli.progress import run_progress
    from simulator.errors import SettingsError
    from simulator.runfolder import name_run

    if resume:
        if out is None:
            raise SettingsError("--resume needs --out FOLDER, the folder of that run.")
        # Other options are compared with what the run was made with, and not passed over.
        recorded = launch.resumable(out)
        config = config or recorded
    settings = settings_from(
        config,
        assign,
        tx__images=images,
        tx__source=source_from(follow, video, http, stdin),
        tx__fps=fps,
        tx__when_busy=when_busy,
        tx__returns=back,
        tx__bandwidth_ratio=cbr,
        tx__target_psnr_db=target_psnr,
        tx__target_fps=target_fps,
        tx__repeats=repeats,
        channel__snr_db=snr_db,
        channel__kind=channel,
        receivers=receivers,
        model=model,
        codec=codec,
        plugins=plugin,
        seed=seed,
        name=name,
        keys=keys or None,
        out=str(out) if out else None,
        rx__reference=reference,
        rx__refine=switched(refine),
        tx__keep=keep,
        rx__keep=keep,
        **({"tx__reference": "none"} if reference not in (None, "attached") else {}),
    )
    settings = name_run(settings)
    with run_progress("sending") as on_progress:
        rows = launch.simulate(settings, on_progress)
    show(rows, Path(settings.out))
    check_complete(rows)


def show(rows: Sequence[Row], folder: Path) -> None:
    """The closing table, and where the rest is."""
    from simulator.output import Output
    from simulator.report.tables import closing_table

    console = Output()
    if rows:
        console.table(closing_table(rows))
    console.print(f"run folder: {folder}", soft_wrap=True)
    page = folder / "report.html"
    if page.is_file():
        console.print(f"report: {page}", soft_wrap=True)
    if slow := slow_restoration(rows):
        console.print(
            f"restoring took {slow:.1f} s an image on this machine: --model quick has a fifth of "
            f"the arithmetic, and loses some of the detail.",
            soft_wrap=True,
        )


def slow_restoration(rows: Iterable[Row]) -> float:
    """Seconds for an image, the median, where the larger of the restorations that ship took more
    than ``SLOW_S``; else 0."""
    times = [
        row["restore_s"]
        for row in rows
        if str(row.get("model") or "").startswith("compact-") and row.get("restore_s")
    ]
    return median(times) if times and median(times) > SLOW_S else 0.0


def check_complete(rows: Iterable[Row]) -> None:
    """Exit code 7, with the reasons, where images were refused or given up."""
    from simulator.report.counts import plural

    total = lost = 0
    reasons = []
    for row in rows:
        total += 1
        if is_lost(row):
            lost += 1
            if lost <= MAX_REASONS:
                reasons.append(f"\n  {row['status']}: {row['reason']}")
    if lost:
        raise IncompleteError(
            f"{lost} of {plural(total, 'frame')} did not arrive:{''.join(reasons)}"
        )
