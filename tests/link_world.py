"""tx, channel and rx in threads of the test's own process.

The sockets, ledgers, settings file and services of ``simulate``, without the start of three
interpreters: for what a setting does to a row. What being processes adds (a start, a death, a
command line) is the matter of ``tests/processes``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from channel.service import ChannelService
from rx.service import ReceiverService
from simulator.children import on_this_machine
from simulator.claim import claimed
from simulator.launch import resumable
from simulator.prepare import prepare
from simulator.process import Service, Stopper
from simulator.report.closing import collect
from simulator.runfolder import write_run_file
from simulator.settings import Settings, make_settings
from simulator.threads import one_thread
from tx.service import TransmitterService
from tx.stream import Manifest

LIMIT_S = 300


def linked(settings: Settings) -> list[dict[str, Any]]:
    """The rows of a run, in the order of its frames. Raises what any of the three raises."""
    run = prepare(on_this_machine(settings))
    stop = Stopper()

    def served(make: Callable[[], Service[Any]]) -> Any:
        service = make()  # in its own thread, as in its own process
        try:
            return service.run(stop)
        finally:
            service.close()

    # Threads of torch are as before when this ends: rx sets them for its whole process.
    with one_thread(), claimed(run) as folder, ThreadPoolExecutor(3) as pool:
        write_run_file(run.settings, folder, run.made_with)
        # What each process reads.
        told = make_settings(resumable(folder), overrides={"out": str(folder)})
        channel = pool.submit(served, lambda: ChannelService(told.channel))
        rx = pool.submit(served, lambda: ReceiverService(told, folder))
        manifest = Manifest(prepare(told, refines=False).jobs)
        tx = pool.submit(served, lambda: TransmitterService(told, folder, manifest))
        try:
            wait((channel, rx, tx), LIMIT_S, FIRST_COMPLETED)
        finally:
            stop.stop()
        channel.result()
        rx.result()
        assert tx.result(), "the link has taken too long"
        rows = collect(folder)
    return sorted(rows, key=lambda row: run.order[bytes.fromhex(row["frame_id"])])


def linked_torch(photos: Path, codec: Path, out: Path, **more: Any) -> list[dict[str, Any]]:
    """The rows with the encoder of ``codec`` in torch, without refining."""
    given = {
        "tx.images": [str(photos)], "codec": str(codec), "out": str(out), "tx.runtime": "torch",
        "rx.refine": False, "rx.lpips": False,
    }  # fmt: skip
    return linked(make_settings(overrides=given | more))
