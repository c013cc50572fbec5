"""``diffjscc evaluate``, ``report`` and ``watch``: what is made of run folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    fid: Annotated[
        bool | None,
        typer.Option("--fid/--no-fid", help="Default: where its weights are on this machine."),
    ] = None,
    clip: Annotated[
        str, typer.Option(help="CLIP for the scores of captions: a hub id or folder.")
    ] = "",
    segmenter: Annotated[
        str, typer.Option(help="For mIoU: a semantic segmenter, hub id or folder.")
    ] = "",
    masks: Annotated[
        Path | None, typer.Option(help="For mIoU: ground truth, a NAME.png for each image.")
    ] = None,
    captions: Annotated[
        str,
        typer.Option(
            help="Caption the originals, too, and compare: by the captioner of the run (run), "
            "keywords, blip2, given:FILE or a folder."
        ),
    ] = "",
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="Further metric, such as lpips_moved; may be repeated.",
            metavar="<str>",
        ),
    ] = None,
    flicker: Annotated[
        bool, typer.Option("--flicker", help="Of a stream: what changes from frame to frame.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
) -> None:
    """Measure every metric at each operating point of a run.

    It writes means with 95 % intervals over images as tables, evaluation.json, .csv and .md:
    FD-EffNet always, FID where its weights are on this machine, other metrics where they are
    asked for. An interrupted evaluation goes on when the command is given again.

    Exit codes: 3 for a folder that is not of a finished run, or masks that do not fit; 4 where a
    network cannot be had; 8 where the files cannot be written; 9 where a package is missing.
    """
    from simulator.cli.progress import run_progress
    from simulator.evaluation.evaluate import Wanted
    from simulator.evaluation.evaluate import evaluate as run_evaluation
    from simulator.evaluation.tables import tables
    from simulator.output import WIDTH, Output

    wanted = Wanted(fid, clip, segmenter, masks, captions, metrics or (), flicker)
    evaluation = run_evaluation(run, wanted, device, run_progress)
    console = Output()
    for table in tables(evaluation.lines, max(console.width, WIDTH)):
        console.table(table)
    for metric, how in evaluation.unavailable.items():
        console.print(f"not measured: {metric}: {how}", markup=False, soft_wrap=True)
    console.print(f"written: {run / 'evaluation'}.json, .csv, .md", markup=False, soft_wrap=True)


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs and sweeps; several are merged.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="File; default: report.html in the first folder.")
    ] = None,
    images: Annotated[int, typer.Option(min=0, help="How many images are shown.")] = 8,
) -> None:
    """Write one HTML page of results, images and curves.

    It shows constellations and latency, too, and needs no other file.

    Exit codes: 0 written; 3 a folder is not of a run or a sweep, or is damaged; 8 a folder
    cannot be read, or the file cannot be written.
    """
    from simulator.cli.progress import run_progress
    from simulator.report.html import write_report

    with run_progress("pictures") as on_progress:
        path = write_report(runs, out, images, on_progress)
    typer.echo(f"report: {path}")


def watch(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Folders of runs, finished or going on; or a channel that runs, by its address "
            "for watching: tcp://HOST:PORT (channel.watch).",
        ),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Of 127.0.0.1; 0: any free one.")
    ] = 8080,
    address: Annotated[
        str, typer.Option(help="HOST:PORT instead, for other machines; needs --token.")
    ] = "",
    token: Annotated[
        Path | None, typer.Option(help="File with the token that a visitor has to show.")
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(help="For a channel with keys: the folder made by keys init watch."),
    ] = None,
) -> None:
    """Show a run, or a channel that runs, on a live page.

    Of a run it has the pictures as they arrive; of a channel what passes it.

    The page is for this machine alone; with --address and --token others open it as
    http://HOST:PORT/?token=TOKEN. Ctrl-C ends it.

    Exit codes: 0 ended; 3 a folder is not of a run, or keys cannot be used; 5 an address cannot be
    used; 6 the channel does not admit the key; 8 a folder cannot be read; 9 a package is missing.
    """
    from contextlib import suppress

    from simulator.watch.opened import opened
    from simulator.watch.serving import Watch
    from tx.live import token_of

    secret = token_of(str(token)) if token else ""
    with (
        opened(runs, keys) as source,
        Watch(source, address or f"127.0.0.1:{port}", secret) as page,
        suppress(KeyboardInterrupt),
    ):
        typer.echo(f"{page.url}  (Ctrl-C ends it)")
        page.serve()
    if page.refused:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(page.refused.items()))
        typer.echo(f"refused: {counts}")
