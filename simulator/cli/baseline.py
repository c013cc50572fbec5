"""``diffjscc baseline``: the digital systems that a JSCC codec is compared with.

It is a sweep without a configuration file: the same rows, files and way to go on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from simulator.cli.shared import Assign, Cbr, Channel, Images, SnrDb

DETAILS = ("bits", "mcs")  # of the rows, beside the figures
ALL = 1_000_000  # images whose results are kept


def baseline(
    images: Images = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help="For example hevc+ldpc; may be repeated. --list shows them all.", metavar="<str>"
        ),
    ] = None,
    cbr: Cbr = None,
    snr_db: SnrDb = None,
    channel: Channel = None,
    repeats: Annotated[int, typer.Option(help="How many times each image is sent.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of gains and noise, as in simulate.")] = 0,
    assign: Assign = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of pictures and rows.")] = Path(
        "runs/baseline"
    ),
    workers: Annotated[int, typer.Option(help="Processes; 0: one for each core.", min=0)] = 0,
    show_all: Annotated[bool, typer.Option("--list", help="List the methods and end.")] = False,
) -> None:
    """Run digital baselines at the same channel uses.

    Each is a source codec with LDPC codes, or with the capacity of the channel. The same command
    again goes on where an interrupted one stopped.

    Exit codes: 3 for a wrong image, method, ratio or channel, or a folder of another run; 7 where
    a method refused points; 8 where --out cannot be written; 9 where a codec's package is missing;
    130 when interrupted.
    """
    from simulator.cli.sweep import run, show
    from simulator.evaluation.experiment import assign_all, checked
    from simulator.jscc.rates import layout_of
    from simulator.methods.digital.methods import METHODS, make_method

    if show_all:
        width = max(map(len, METHODS))
        for name in METHODS:
            typer.echo(f"{name:{width}} {make_method(name).label}")
        return
    asked = methods or ["hevc+ldpc"]
    for name in asked:
        make_method(name)  # the digital ones only; sweep has the others
    tree: dict[str, Any] = {
        "title": "Digital baselines",
        "images": images or [],
        "methods": asked,
        "cbr": cbr or ["1/384"],
        "snr_db": snr_db or [10.0],
        "channel": channel or ["awgn"],
        "metrics": ["psnr", "ms_ssim"],
        "repeats": repeats,
        "seed": seed,
        "pictures": ALL,
    }
    assign_all(tree, assign or ())
    experiment = checked(tree)
    for point in experiment.points:
        layout_of(point.cbr, (1, 1))  # a ratio without whole symbols is wrong for every image
    show(run(experiment, out, workers), out, DETAILS)
