"""``diffjscc baseline``: the digital systems that a JSCC codec is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def baseline(
    images: Annotated[
        list[str] | None, typer.Argument(help="Images or folders; default: sample photographs.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="For example hevc+ldpc; may be repeated. --methods lists them."),
    ] = None,
    cbr: Annotated[
        list[str] | None, typer.Option(help="Bandwidth ratio such as 1/384; may be repeated.")
    ] = None,
    snr_db: Annotated[list[float] | None, typer.Option(help="SNR in dB; may be repeated.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="awgn, rayleigh, rician; may be repeated.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Send each image so often.")] = 1,
    seed: Annotated[int, typer.Option(help="Seeds gains and noise, as in simulate.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of pictures and rows.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out as it was.")
    ] = False,
    methods: Annotated[bool, typer.Option("--methods", help="List the methods and end.")] = False,
) -> None:
    """Digital baselines: source codec + LDPC, or + capacity, at the same channel uses.

    Exit codes: 3 for a wrong image, method, ratio or channel, 8 where --out cannot be written or
    holds another run, 9 where a codec's package is missing, 130 when interrupted (--resume).
    """
    from rich.console import Console

    from simulator.errors import SettingsError
    from simulator.evaluation.digital import baseline as run
    from simulator.evaluation.digital.methods import METHODS, make_method
    from simulator.images import sample_photographs
    from simulator.process import Stopper
    from simulator.progress import run_progress

    if methods:
        for name in METHODS:
            typer.echo(f"{name:26} {make_method(name).label}")
        return
    if out is None:
        raise SettingsError("--out FOLDER is needed: pictures and rows go there.")
    if resume:
        settings = run.stored_settings(out)
    else:
        settings = run.baseline_settings(
            images=images or [str(path) for path in sample_photographs()],
            method=method or ["hevc+ldpc"],
            cbr=cbr or ["1/384"],
            snr_db=snr_db or [10.0],
            channel=channel or ["awgn"],
            repeats=repeats,
            seed=seed,
        )
    stop = Stopper()
    stop.install()
    with run_progress("sending") as on_progress:
        rows = run.run_baseline(settings, out, resume, on_progress, lambda: bool(stop))
    Console().print(run.table(rows))
    typer.echo(f"folder: {out}")
