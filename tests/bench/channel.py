"""Channel: million symbols a second through fading and noise, one core."""

from __future__ import annotations

from rich import box
from rich.table import Table

from channel.medium import Medium
from simulator.jscc.rates import null_symbols
from simulator.link.messages import Point
from simulator.phy.streams import complex_normal, stream
from simulator.settings import ChannelSettings
from tests.bench.timing import median_s


def run() -> Table:
    table = Table(title="channel, one core", box=box.SIMPLE_HEAD)
    for head in ("symbols", "kind", "Msymbols/s", "us a frame", "of drawing the noise alone"):
        table.add_column(head, justify="right")
    cases = [("awgn", ChannelSettings()), ("rayleigh", ChannelSettings())]
    cases.append(("rayleigh, blocks of 100", ChannelSettings(coherence_time=100, csit="average")))
    key = bytes(32)
    for k in (3072, 24_576):
        symbols = null_symbols(k)
        alone = median_s(lambda k=k: complex_normal(stream(key, "noise"), k), 200)
        for name, settings in cases:
            medium = Medium(settings)
            kind = name.split(",")[0]
            point = Point(channel=kind, snr_db=10, bandwidth_ratio="1/384")
            seconds = median_s(
                lambda m=medium, p=point, k=k, s=symbols: m.transmit(key, p, k, s), 200
            )
            table.add_row(
                str(k), name, f"{k / seconds / 1e6:.1f}", f"{seconds * 1e6:.0f}",
                f"{alone / seconds:.0%}",
            )  # fmt: skip
    return table
