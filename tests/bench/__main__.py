"""``make bench [ONLY=PART]``: encoder, link, channel, client, load, scaling, loading, closing,
scoring, starting or pipeline; several of them in quotes.

Run on an idle machine. Every table is one run, and what is compared stands side by side in it.
"""

from __future__ import annotations

import os
import platform
import sys

from rich.console import Console

from tests.bench import (
    channel,
    client,
    closing,
    encoder,
    link,
    load,
    loading,
    pipeline,
    scoring,
    starting,
)

PARTS = {
    "encoder": encoder.run,
    "channel": channel.run,
    "client": client.run,
    "link": link.run,
    "load": load.run,
    "scaling": load.scaling,
    "loading": loading.run,
    "closing": closing.run,
    "scoring": scoring.run,
    "starting": starting.run,
    "pipeline": pipeline.run,
}


def main() -> None:
    console = Console(width=100)
    busy = os.getloadavg()[0]
    console.print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {busy:.1f}"
    )
    if busy > 0.5:
        console.print("[yellow]this machine is not idle: figures are too low[/yellow]")
    for name in sys.argv[1:] or PARTS:
        console.print(PARTS[name]())


if __name__ == "__main__":
    main()
