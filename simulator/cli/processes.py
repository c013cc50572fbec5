"""``diffjscc tx``, ``channel`` and ``rx``: one process, for separate machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.shared import (
    Assign,
    Cbr,
    Config,
    Follow,
    Fps,
    Http,
    Images,
    Keep,
    Log,
    Model,
    Out,
    Plugin,
    Reference,
    Refine,
    Return,
    Stdin,
    Supervised,
    TargetFps,
    TargetPsnr,
    VideoFrom,
    WhenBusy,
    settings_from,
    source_from,
    switched,
)
from simulator.cli.simulate import check_complete, show


def tx(
    images: Images = None,
    follow: Follow = None,
    video: VideoFrom = None,
    http: Http = None,
    stdin: Stdin = False,
    fps: Fps = None,
    when_busy: WhenBusy = None,
    back: Return = None,
    keep: Keep = None,
    cbr: Cbr = None,
    target_psnr: TargetPsnr = None,
    target_fps: TargetFps = None,
    config: Config = None,
    assign: Assign = None,
    plugin: Plugin = None,
    out: Out = None,
    retry_dead: Annotated[
        bool, typer.Option("--retry-dead", help="Try frames again that were given up.")
    ] = False,
    log: Log = None,
    supervised: Supervised = 0,
) -> None:
    """Run the transmitter alone, until every image has a row.

    With --follow, --video, --http or --stdin, until the source ends or tx is interrupted.
    """
    from contextlib import nullcontext

    from simulator.claim import claimed
    from simulator.logs import start_logging
    from simulator.prepare import prepare
    from simulator.process import serve
    from simulator.report.closing import finish, opened
    from simulator.runfolder import write_run_file
    from tx.live import LiveService
    from tx.returned import listener
    from tx.service import TransmitterService
    from tx.stream import Manifest

    settings = settings_from(
        config,
        assign,
        log_format=log,
        plugins=plugin,
        tx__images=images,
        tx__source=source_from(follow, video, http, stdin),
        tx__fps=fps,
        tx__when_busy=when_busy,
        tx__returns=back,
        tx__keep=keep,
        tx__bandwidth_ratio=cbr,
        tx__target_psnr_db=target_psnr,
        tx__target_fps=target_fps,
        out=str(out) if out else None,
    )
    start_logging("tx", settings.log_format)
    started = Path(settings.out) if supervised else None
    run = prepare(settings, refines=False, hashes=started)
    with nullcontext(started) if started else claimed(run) as folder:
        if not supervised:
            write_run_file(run.settings, folder, run.made_with)
        with listener(run.settings.tx, folder) as listen:
            service = (
                LiveService(run.settings, folder, retry_dead, listen)
                if run.settings.tx.source
                else TransmitterService(
                    run.settings, folder, Manifest(run.jobs), retry_dead, listen=listen
                )
            )
            done = serve(service, supervised)
        if not supervised:
            show(finish(folder, run.order, run.settings.tx.roll_bytes), folder)
    if not done:
        raise KeyboardInterrupt
    with opened(folder) as ledger:
        check_complete(
            row
            for row in ledger.results()
            if run.settings.tx.source or bytes.fromhex(row["frame_id"]) in run.order
        )


def channel(
    config: Config = None,
    assign: Assign = None,
    plugin: Plugin = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond loopback without keys.")
    ] = False,
    log: Log = None,
    supervised: Supervised = 0,
) -> None:
    """Run the channel emulator alone, until it is stopped."""
    from channel.service import ChannelService
    from simulator.logs import start_logging
    from simulator.process import serve

    settings = settings_from(
        config, assign, log_format=log, plugins=plugin, channel__insecure=insecure or None
    )
    start_logging("channel", settings.log_format)
    serve(ChannelService(settings.channel), supervised)


def rx(
    config: Config = None,
    assign: Assign = None,
    out: Out = None,
    model: Model = None,
    plugin: Plugin = None,
    refine: Refine = None,
    reference: Reference = None,
    keep: Keep = None,
    log: Log = None,
    supervised: Supervised = 0,
) -> None:
    """Run a receiver alone, until it is stopped."""
    from rx.service import ReceiverService
    from simulator.claim import claimed_by_receiver
    from simulator.logs import start_logging
    from simulator.prepare import absolute
    from simulator.process import serve
    from simulator.runfolder import fingerprints, name_run, write_run_file

    settings = settings_from(
        config,
        assign,
        out=str(out) if out else None,
        model=model,
        plugins=plugin,
        log_format=log,
        rx__refine=switched(refine),
        rx__reference=reference,
        rx__keep=keep,
    )
    start_logging("rx", settings.log_format)
    if supervised:
        serve(ReceiverService(settings, Path(settings.out)), supervised)
        return
    # A receiver serves any run: its folder has a name of its own, and its run has none.
    where = settings.out or name_run(settings).out
    settings = absolute(settings.model_copy(update={"out": where, "run": ""}))
    with claimed_by_receiver(settings) as folder:
        write_run_file(settings, folder, fingerprints(settings, refines=True))
        serve(ReceiverService(settings, folder))
