"""The command line, ``diffjscc``. Each command imports its module when it runs."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simulator.cli.baseline import baseline
from simulator.cli.keys import keys
from simulator.cli.settings import show_settings
from simulator.cli.sweep import sweep
from simulator.cli.train import train
from simulator.console import take_every_character
from simulator.errors import DiffJsccError, IncompleteError, StorageError
from simulator.version import __version__

if TYPE_CHECKING:
    from simulator.settings import Settings

INTERRUPTED = 130
# A full or read-only disk can show anywhere.
STORAGE_ERRNOS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(train, name="train")
app.add_typer(keys, name="keys")
app.command()(baseline)
app.command()(sweep)
app.command("settings")(show_settings)

Config = Annotated[Path | None, typer.Option("--config", help="TOML file; see diffjscc settings.")]
Assign = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE, for example rx.slots=4.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder.")]
Model = Annotated[
    str | None, typer.Option("--model", help="Of the receiver: compact, a folder or a hub id.")
]
Refine = Annotated[
    Literal["on", "off"] | None, typer.Option("--refine", help="off: plain DeepJSCC.")
]
Log = Annotated[Literal["text", "json"], typer.Option("--log", help="Lines on standard error.")]
# The process id of simulate: a child ends when its parent has died.
Supervised = Annotated[int, typer.Option("--supervised", hidden=True)]


def show_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Wireless image transmission from end to end: tx, channel and rx."""


def settings_from(config: Path | None, assignments: list[str] | None, **options: Any) -> Settings:
    """Configuration file, then options (``tx__window`` is tx.window), then --set."""
    from simulator.settings import make_settings

    given = {k.replace("__", "."): v for k, v in options.items() if v not in (None, [], ())}
    return make_settings(config, assignments or [], given)


def switched(value: str | None) -> bool | None:
    """A setting from ``on`` or ``off``; None where nothing is said."""
    return None if value is None else value == "on"


@app.command()
def simulate(
    images: Annotated[
        list[str] | None, typer.Argument(help="Images or folders; default: sample photographs.")
    ] = None,
    cbr: Annotated[
        list[str] | None, typer.Option(help="Bandwidth ratio such as 1/384; may be repeated.")
    ] = None,
    snr_db: Annotated[list[float] | None, typer.Option(help="SNR in dB; may be repeated.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="awgn, rayleigh, rician; may be repeated.")
    ] = None,
    receivers: Annotated[int | None, typer.Option(help="How many rx processes.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Send each image so often.")] = None,
    model: Model = None,
    refine: Refine = None,
    codec: Annotated[
        str | None, typer.Option(help="Shipped name or codec folder; default: the model's.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="What rx scores against: attached, none or a folder.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seeds gains and noise.")] = None,
    name: Annotated[str | None, typer.Option(help="Part of the run folder's name.")] = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="Encrypt the link, with keys made for this run.")
    ] = False,
    out: Out = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out as it was.")
    ] = False,
    config: Config = None,
    assign: Assign = None,
) -> None:
    """All three processes on this machine, supervised."""
    from simulator import launch
    from simulator.cli.progress import run_progress
    from simulator.errors import SettingsError
    from simulator.runfolder import name_run

    if resume:
        if out is None:
            raise SettingsError("--resume needs --out FOLDER, the folder of that run.")
        settings = launch.resumed(out)
    else:
        settings = settings_from(
            config,
            assign,
            tx__images=images,
            tx__bandwidth_ratio=cbr,
            tx__repeats=repeats,
            channel__snr_db=snr_db,
            channel__kind=channel,
            receivers=receivers,
            model=model,
            codec=codec,
            seed=seed,
            name=name,
            keys=keys or None,
            out=str(out) if out else None,
            rx__reference=reference,
            rx__refine=switched(refine),
            **({"tx__reference": "none"} if reference not in (None, "attached") else {}),
        )
    settings = name_run(settings)
    with run_progress("sending") as on_progress:
        rows = launch.simulate(settings, on_progress)
    show(rows, Path(settings.out))
    check_complete(rows)


def show(rows: list[dict[str, Any]], folder: Path) -> None:
    """The closing table, and where the rest is."""
    from rich.console import Console

    from simulator.report.tables import closing_table

    console = Console()
    if rows:
        console.print(closing_table(rows))
    console.print(f"run folder: {folder}", soft_wrap=True)
    page = folder / "report.html"
    if page.is_file():
        console.print(f"report: {page}", soft_wrap=True)


def check_complete(rows: list[dict[str, Any]]) -> None:
    """Exit code 7, with the reasons, where images were refused or given up."""
    from simulator.report.counts import plural

    lost = [row for row in rows if row["status"] != "delivered"]
    if lost:
        reasons = "\n".join(f"  {row['status']}: {row['reason']}" for row in lost[:10])
        raise IncompleteError(
            f"{len(lost)} of {plural(len(rows), 'frame')} did not arrive:\n{reasons}"
        )


@app.command()
def tx(
    images: Annotated[list[str] | None, typer.Argument(help="Images or folders.")] = None,
    config: Config = None,
    assign: Assign = None,
    out: Out = None,
    retry_dead: Annotated[
        bool, typer.Option("--retry-dead", help="Try frames again that were given up.")
    ] = False,
    log: Log = "text",
    supervised: Supervised = 0,
) -> None:
    """The transmitter alone: runs until every image has a row in its ledger."""
    from contextlib import nullcontext

    from simulator import launch
    from simulator.claim import absolute, claimed
    from simulator.logs import start_logging
    from simulator.process import serve
    from simulator.runfolder import name_run, write_run_file
    from tx.service import TransmitterService
    from tx.source import build_manifest

    start_logging("tx", log)
    settings = settings_from(config, assign, tx__images=images, out=str(out) if out else None)
    settings = absolute(name_run(settings))
    jobs = build_manifest(settings)
    order = {job.frame_id.hex(): i for i, job in enumerate(jobs)}
    with nullcontext(Path(settings.out)) if supervised else claimed(settings) as folder:
        if not supervised:
            write_run_file(settings, folder)
        done = serve(TransmitterService(settings, folder, jobs, retry_dead), supervised)
        if not supervised:
            show(launch.finish(folder, order), folder)
    if not done:
        raise KeyboardInterrupt
    check_complete([row for row in launch.collect(folder) if row["frame_id"] in order])


@app.command()
def channel(
    config: Config = None,
    assign: Assign = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond loopback without keys.")
    ] = False,
    log: Log = "text",
    supervised: Supervised = 0,
) -> None:
    """The channel emulator alone: runs until it is stopped."""
    from channel.service import ChannelService
    from simulator.logs import start_logging
    from simulator.process import serve

    start_logging("channel", log)
    settings = settings_from(config, assign, channel__insecure=insecure or None)
    serve(ChannelService(settings.channel), supervised)


@app.command()
def rx(
    config: Config = None,
    assign: Assign = None,
    out: Out = None,
    model: Model = None,
    refine: Refine = None,
    reference: Annotated[
        str | None, typer.Option(help="What to score against: attached, none or a folder.")
    ] = None,
    log: Log = "text",
    supervised: Supervised = 0,
) -> None:
    """A receiver alone: runs until it is stopped."""
    from rx.service import ReceiverService
    from simulator.claim import absolute, claimed_by_receiver
    from simulator.logs import start_logging
    from simulator.process import serve
    from simulator.runfolder import name_model, name_run, write_run_file

    start_logging("rx", log)
    settings = settings_from(
        config,
        assign,
        out=str(out) if out else None,
        model=model,
        rx__refine=switched(refine),
        rx__reference=reference,
    )
    if supervised:
        serve(ReceiverService(settings, Path(settings.out)), supervised)
        return
    # A receiver serves any run: its folder has a name of its own, and its run has none.
    where = settings.out or name_run(settings).out
    settings = absolute(settings.model_copy(update={"out": where, "run": ""}))
    with claimed_by_receiver(settings) as folder:
        write_run_file(settings, folder, name_model(settings))
        serve(ReceiverService(settings, folder))


@app.command()
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
        typer.Option("--metric", help="A further one, such as lpips_moved; may be repeated."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
) -> None:
    """Every metric at each operating point, with 95 % intervals over images: tables,
    evaluation.json, .csv and .md.

    FD-EffNet always, FID where its weights are, the others where they are asked for. Interrupted,
    it goes on where it was when the command is given again. Exit codes: 3 for a folder that is no
    finished run, or masks that do not fit; 4 where a network cannot be had; 8 where the files
    cannot be written; 9 where a package is missing.
    """
    from rich.console import Console

    from simulator.cli.progress import run_progress
    from simulator.evaluation.evaluate import Wanted
    from simulator.evaluation.evaluate import evaluate as run_evaluation
    from simulator.evaluation.tables import tables

    wanted = Wanted(fid, clip, segmenter, masks, captions, metrics or ())
    evaluation = run_evaluation(run, wanted, device, run_progress)
    console = Console()
    for table in tables(evaluation.lines):
        console.print(table)
    for metric, how in evaluation.unavailable.items():
        console.print(f"not measured: {metric}: {how}", markup=False, soft_wrap=True)
    console.print(f"written: {run / 'evaluation'}.json, .csv, .md", markup=False, soft_wrap=True)


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs and sweeps; several are merged.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="File; default: report.html in the first folder.")
    ] = None,
    images: Annotated[int, typer.Option(min=0, help="How many images are shown.")] = 8,
) -> None:
    """One self-contained HTML page: results, images, curves, constellations, latency.

    Exit codes: 0 written; 3 a folder is none of a run or a sweep, or is damaged; 8 a folder
    cannot be read, or the file cannot be written.
    """
    from simulator.cli.progress import run_progress
    from simulator.report.html import write_report

    with run_progress("pictures") as on_progress:
        path = write_report(runs, out, images, on_progress)
    typer.echo(f"report: {path}")


@app.command()
def watch(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, finished or going on.")],
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free one.")] = 8080,
) -> None:
    """The report of a run that goes on, as a live page for this machine; Ctrl-C ends it.

    Exit codes: 0 ended; 3 a folder is none of a run; 5 the port cannot be used; 8 a folder
    cannot be read.
    """
    from contextlib import suppress

    from simulator.report.watch import watch as run

    with run(runs, port) as server, suppress(KeyboardInterrupt):
        typer.echo(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)")
        server.serve_forever()


@app.command()
def export(folder: Annotated[str, typer.Argument(help="Codec folder.")] = "compact") -> None:
    """The encoder of a codec folder as ONNX, for tx without torch."""
    from simulator.jscc.export import export_encoder

    path = export_encoder(folder)
    typer.echo(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


@app.command("import-official")
def import_official(
    source: Annotated[
        str, typer.Argument(help="Folder with config.yaml and model.ckpt, or a hub id.")
    ],
    destination: Annotated[Path, typer.Argument(help="Model folder to write; must be new.")],
    dtype: Annotated[
        Literal["float16", "float32"] | None,
        typer.Option(help="Of the weights; default: as in the checkpoint."),
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of a CLIP tokenizer; default: CLIP's own.")
    ] = None,
) -> None:
    """A checkpoint in the authors' layout as a model folder."""
    from rich.console import Console

    from simulator.importer.folder import import_official as run

    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    run(source, destination, dtype or "", tokenizer, say)
    typer.echo(f"model folder: {destination}")


@app.command()
def doctor(
    run: Annotated[
        Path | None, typer.Option("--run", help="Look at a run folder instead: is it whole?")
    ] = None,
) -> None:
    """What works on this machine, and what to do about what does not."""
    from simulator.doctor.finding import tell
    from simulator.doctor.machine import examine

    if run is None:
        raise typer.Exit(0 if examine() else 9)
    from rich.console import Console

    from simulator.doctor.run import examine_run

    findings = examine_run(run)
    for finding in findings:
        tell(finding, Console())
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(StorageError.exit_code)


@app.command()
def fetch(what: Annotated[str, typer.Argument(help="lpips, inception (for FID).")]) -> None:
    """Weights of metrics, for this machine or to carry to one that is offline."""
    from simulator.metrics.fetch import fetch as run

    typer.echo(run(what))


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; a user's mistake ends in one sentence and its exit code."""
    try:
        command()
    except DiffJsccError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, SystemExit) as ended:
        # Typer makes this exit of a Ctrl-C, without a word.
        if isinstance(ended, SystemExit) and ended.code != INTERRUPTED:
            raise
        print(
            "interrupted; what was done is kept: the same command goes on from there "
            "(simulate with --resume)",
            file=sys.stderr,
        )
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        if error.errno not in STORAGE_ERRNOS:
            raise
        where = f" at {error.filename}" if error.filename else ""
        print(f"error: storage failed{where}: {error.strerror}; make room.", file=sys.stderr)
        return StorageError.exit_code
    return 0


def main() -> None:
    take_every_character()
    sys.exit(guarded(app))
