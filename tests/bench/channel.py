"""Channel: million symbols a second through fading and noise, one core, beside Sionna's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from channel.medium import Medium
from simulator.jscc.rates import null_symbols
from simulator.link.messages import WirePoint
from simulator.phy.streams import GENERATORS, stream
from simulator.settings import ChannelSettings
from tests.bench.timing import median_s

KEY = bytes(32)
N, CARRIER_HZ = 64, 3.5e9
SYMBOLS = (128, 3072, 24_576, 1_000_000)
REPEATS = 300
LARGE = 100_000  # symbols from which on a thirtieth of the repeats is enough
TDL = "multipath, TDL-A"
MOVING = "multipath, TDL-A at 100 Hz"
MIMO = "mimo, 2 x 2"


def multipath(**fields: Any) -> ChannelSettings:
    return ChannelSettings.model_validate(
        {"kind": "multipath", "csit": "average", "symbol_rate_hz": 1e7, "multipath": fields}
    )


def ours() -> dict[str, ChannelSettings]:
    return {
        "awgn": ChannelSettings(),
        "rayleigh": ChannelSettings(),
        "rayleigh, blocks of 100": ChannelSettings(coherence_time=100, csit="average"),
        "multipath": multipath(),
        TDL: multipath(profile="tdl-a"),
        MOVING: multipath(profile="tdl-a", doppler_hz=100.0),
        "multipath, 100 Hz within symbols": multipath(doppler_hz=100.0, within_symbol=True),
        MIMO: ChannelSettings.model_validate(
            {"kind": "mimo", "mimo": {"scheme": "multiplexing"}, "csit": "average"}
        ),
    }


def theirs(k: int) -> dict[str, Callable[[], object]]:
    """The same by Sionna on one thread; nothing where it is not installed (extra ``nr``).

    It draws the gains of a frame, fades its symbols and adds noise; powers are not measured.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import sionna.phy.channel as sionna
            from sionna.phy.channel import tr38901
    except ImportError:
        return {}
    import torch

    torch.set_num_threads(1)
    noise = sionna.AWGN()
    matrix, apply = sionna.GenerateFlatFadingChannel(2, 2), sionna.ApplyFlatFadingChannel()
    flat = torch.from_numpy(null_symbols(k))[None]
    streams = torch.from_numpy(np.resize(null_symbols(k), (-(-k // 2), 2))) / 2**0.5
    symbols = torch.from_numpy(np.resize(null_symbols(k), (1, -(-k // N), N)))
    speed = 100 * 299_792_458 / CARRIER_HZ
    frequencies = sionna.subcarrier_frequencies(N, 1e7 / N)

    def ofdm(moving: bool) -> object:
        tdl = models[moving]
        times = symbols.shape[1] if moving else 1
        h = sionna.cir_to_ofdm_channel(frequencies, *tdl(1, times, 1e7 / (N + 16)))
        return noise(h.reshape(1, times, N) * symbols, 0.1)

    models = {
        moving: tr38901.TDL(
            "A", 1e-7, CARRIER_HZ, min_speed=moving * speed, max_speed=moving * speed
        )
        for moving in (False, True)
    }
    return {
        "awgn": lambda: noise(flat, 0.1),
        TDL: lambda: ofdm(False),
        MOVING: lambda: ofdm(True),
        MIMO: lambda: apply(streams, matrix(1), 0.1),
    }


def run() -> Table:
    """Versions of the draws side by side. ``of the normals alone``: how near a frame comes to
    numpy's bare generator, which draws as many float32 normals."""
    table = Table(title="channel, one core", box=box.SIMPLE_HEAD)
    there = bool(theirs(N))
    heads = ["symbols", "kind", "draws", "Msymbols/s", "us a frame", "of the normals alone"]
    for head in heads + ["Sionna, Msymbols/s"] * there:
        table.add_column(head, justify="right")
    for k in SYMBOLS:
        symbols, repeats = null_symbols(k), REPEATS // (30 if k > LARGE else 1)
        others = theirs(k)
        for name, settings in ours().items():
            point = WirePoint(channel=name.split(",")[0], snr_db=10, bandwidth_ratio="1/384")
            other = f"{k / median_s(others[name], repeats) / 1e6:.1f}" if name in others else "-"
            for draws in GENERATORS:
                medium = Medium(settings.model_copy(update={"draws": draws}))
                bare = stream(KEY, "bench", draws)
                alone = median_s(lambda b=bare, k=k: b.standard_normal(2 * k, "f4"), repeats)
                seconds = median_s(
                    lambda m=medium, p=point, k=k, s=symbols: m.transmit(KEY, p, k, s), repeats
                )
                row = [
                    str(k), name, str(draws), f"{k / seconds / 1e6:.1f}", f"{seconds * 1e6:.0f}",
                    f"{alone / seconds:.0%}",
                ]  # fmt: skip
                table.add_row(*row, *[other] * there)
    making = [median_s(lambda v=v: stream(KEY, "noise", v), 2000) * 1e6 for v in GENERATORS]
    table.caption = "a generator is made in " + ", ".join(
        f"{us:.1f} us (draws {version})" for version, us in zip(GENERATORS, making, strict=True)
    )
    if not there:
        table.caption += "; Sionna is not installed (extra nr), so there is no column of its speed"
    return table
