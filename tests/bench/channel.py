"""Channel: million symbols a second through fading and noise, one core."""

from __future__ import annotations

from rich import box
from rich.table import Table

from channel.medium import Medium
from simulator.jscc.rates import null_symbols
from simulator.link.messages import Point
from simulator.phy.streams import GENERATORS, stream
from simulator.settings import ChannelSettings
from tests.bench.timing import median_s

KEY = bytes(32)
SYMBOLS = (128, 3072, 24_576)
REPEATS = 300


def run() -> Table:
    """Versions of the draws side by side. ``of the normals alone``: how near a frame comes to
    numpy's bare generator, which draws as many float32 normals."""
    table = Table(title="channel, one core", box=box.SIMPLE_HEAD)
    heads = ("symbols", "kind", "draws", "Msymbols/s", "us a frame", "of the normals alone")
    for head in heads:
        table.add_column(head, justify="right")
    cases = [("awgn", ChannelSettings()), ("rayleigh", ChannelSettings())]
    cases.append(("rayleigh, blocks of 100", ChannelSettings(coherence_time=100, csit="average")))
    for k in SYMBOLS:
        symbols = null_symbols(k)
        for name, settings in cases:
            point = Point(channel=name.split(",")[0], snr_db=10, bandwidth_ratio="1/384")
            for draws in GENERATORS:
                medium = Medium(settings.model_copy(update={"draws": draws}))
                bare = stream(KEY, "bench", draws)
                alone = median_s(lambda b=bare, k=k: b.standard_normal(2 * k, "f4"), REPEATS)
                seconds = median_s(
                    lambda m=medium, p=point, k=k, s=symbols: m.transmit(KEY, p, k, s), REPEATS
                )
                table.add_row(
                    str(k), name, str(draws), f"{k / seconds / 1e6:.1f}", f"{seconds * 1e6:.0f}",
                    f"{alone / seconds:.0%}",
                )  # fmt: skip
    making = [median_s(lambda v=v: stream(KEY, "noise", v), 2000) * 1e6 for v in GENERATORS]
    table.caption = "a generator is made in " + ", ".join(
        f"{us:.1f} us (draws {version})" for version, us in zip(GENERATORS, making, strict=True)
    )
    return table
