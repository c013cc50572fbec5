"""``diffjscc export``, ``import-official`` and ``fetch``: weights and their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from simulator.cli.shared import Plugin


def export(
    folder: Annotated[str, typer.Argument(help="Codec folder.")] = "compact",
    int8: Annotated[
        bool, typer.Option("--int8", help="In 8-bit integers, too; needs --data.")
    ] = False,
    data: Annotated[
        list[str] | None, typer.Option(help="Photographs to calibrate with; may be repeated.")
    ] = None,
    plugin: Plugin = None,
) -> None:
    """Export the encoder of a codec folder as ONNX.

    With it, tx needs no torch.
    """
    from simulator.plugins import load_plugins

    load_plugins(plugin or [])
    if not int8:
        from simulator.jscc.export import export_encoder

        path = export_encoder(folder)
        typer.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
        return
    from simulator.training.quantize import export_int8

    path, cost = export_int8(folder, data or [])
    typer.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    typer.echo(cost.sentence())


def wrap(
    kind: Annotated[
        Literal["cddm", "deepjscc-q", "feedback", "ofdm-jscc", "sketch", "space-time"],
        typer.Argument(
            help="cddm: a denoiser of what is received; deepjscc-q: symbols of square QAM; "
            "feedback: several rounds; ofdm-jscc: corrections of channel estimate and equaliser; "
            "sketch: a text and thin edges beside the symbols; space-time: corrections of the "
            "streams of two antennas."
        ),
    ],
    folder: Annotated[str, typer.Argument(help="Codec folder.")] = "compact",
    out: Annotated[Path, typer.Option(help="Codec folder to write; must be new.")] = Path("codec"),
    points: Annotated[
        Literal["4", "16", "64", "256"], typer.Option(help="deepjscc-q: points of the QAM.")
    ] = "64",
    rounds: Annotated[int, typer.Option(help="feedback: 2 to 4.")] = 2,
    steps: Annotated[int, typer.Option(help="cddm: of the reverse process.")] = 1,
    cell: Annotated[
        Literal["2", "4", "8"], typer.Option(help="sketch: pixels of one of its cells.")
    ] = "8",
    share: Annotated[
        float, typer.Option(help="sketch: most of the cells that are edges; 0: a text alone.")
    ] = 0.1,
    plugin: Plugin = None,
) -> None:
    """Put a codec behind another way of sending.

    No training is needed, but for cddm, ofdm-jscc and space-time, which have to learn what to take
    away; what sketch sends is for a receiver whose control module has learnt it (train control
    --codec). What it writes is a codec folder like any other: simulate and sweep take it with
    --codec, and train codec goes on from it with --init.
    """
    from simulator.jscc.wrap import wrap as run
    from simulator.plugins import load_plugins

    load_plugins(plugin or [])
    options: dict[str, dict[str, float]] = {
        "cddm": {"steps": steps},
        "deepjscc-q": {"points": int(points)},
        "feedback": {"rounds": rounds},
        "ofdm-jscc": {},
        "sketch": {"cell": int(cell), "share": share},
        "space-time": {},
    }
    typer.echo(f"codec folder: {run(kind, folder, out, **options[kind])}")


def import_official(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder with config.yaml and model.ckpt, a hub id, a file of WITT, SwinJSCC or "
            "NTSCC, or a folder with both files of MambaJSCC."
        ),
    ],
    destination: Annotated[Path, typer.Argument(help="Folder to write; must be new.")],
    dtype: Annotated[
        Literal["float16", "float32"] | None,
        typer.Option(help="Type of the weights; default: as in the checkpoint."),
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of a CLIP tokenizer; default: CLIP's own.")
    ] = None,
) -> None:
    """Convert the authors' checkpoint to a model folder.

    Of a codec alone, WITT, SwinJSCC, NTSCC and MambaJSCC included, to the folder of a codec.
    """
    from rich.console import Console

    from simulator.importer.folder import import_official as run
    from simulator.models.folder import INDEX

    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    run(source, destination, dtype or "", tokenizer, say)
    kind = "model" if (destination / INDEX).is_file() else "codec"
    typer.echo(f"{kind} folder: {destination}")


def fetch(what: Annotated[str, typer.Argument(help="lpips, or inception (for FID).")]) -> None:
    """Fetch weights of metrics.

    They serve this machine, or are carried to one that is offline.
    """
    from simulator.metrics.fetch import fetch as run

    typer.echo(run(what))
