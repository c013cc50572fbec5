"""``diffjscc codecs``: what the codecs of some folders cost."""

from __future__ import annotations

from typing import Annotated

import typer

from simulator.cli.shared import Plugin


def codecs(
    folders: Annotated[
        list[str], typer.Argument(help="Codec folders or shipped names.", metavar="<folder>...")
    ],
    size: Annotated[
        tuple[int, int], typer.Option(help="Width and height of the image.", metavar="<w> <h>")
    ] = (768, 512),
    cbr: Annotated[
        str, typer.Option(help="Bandwidth ratio; default: each codec's own.", metavar="<ratio>")
    ] = "",
    plugin: Plugin = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: torch decides.", min=0)] = 0,
) -> None:
    """Show what codecs cost.

    Parameters, multiplications and time of encoder and decoder, each from its folder, on this
    machine's processor. How good they are says: diffjscc sweep codecs --add jscc:codec=FOLDER.
    """
    import torch
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from simulator.errors import SettingsError
    from simulator.images import MAX_PIXELS
    from simulator.jscc.checkpoint import load_codec
    from simulator.jscc.cost import HEADS, TOLD, cost_of
    from simulator.jscc.rates import parse_ratio
    from simulator.output import Output
    from simulator.plugins import load_plugins

    load_plugins(plugin or [])
    width, height = size
    if min(size) < 1 or width * height > MAX_PIXELS:
        raise SettingsError(
            f"--size {width} {height}: give a width and a height of 1 pixel or more, and "
            f"{MAX_PIXELS / 1e6:.0f} million pixels at most."
        )
    ratio = parse_ratio(cbr) if cbr else None
    if threads:
        torch.set_num_threads(threads)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=TOLD)
    table.add_column("codec", overflow="fold", min_width=8)
    for head in ("CBR", "K", *HEADS):
        table.add_column(head, justify="right", no_wrap=True)
    loaded = [(folder, load_codec(folder)) for folder in folders]
    for folder, codec in loaded:
        cost = cost_of(codec, (height, width), ratio)
        cells = [str(ratio or codec.bandwidth_ratio), str(cost.k), *cost.cells()]
        table.add_row(escape(folder), *cells)
    Output().table(table)
