"""What a codec costs at each end: parameters, multiplications, time."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from time import perf_counter

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from simulator.jscc.air import Air
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi

SNR_DB = 10.0
HEADS = ("enc. M", "enc. GMAC", "enc. ms", "dec. M", "dec. GMAC", "dec. ms")
TOLD = "M: million parameters, GMAC: 10^9 multiplications with an addition"


@dataclass(frozen=True)
class Cost:
    """Of one image. ``macs``: multiplications with an addition, of convolutions, matrix products
    and attention; ``seconds``: medians of this machine. ``encoder``: of all rounds, with what a
    codec with feedback decodes at the transmitter. ``parameters``: (encoder, the whole codec)."""

    parameters: tuple[int, int]
    macs: tuple[float, float]
    seconds: tuple[float, float]
    k: int

    @property
    def of_ends(self) -> tuple[int, int]:
        """Parameters of the encoder, and of all that is not in it."""
        encoder, whole = self.parameters
        return encoder, whole - encoder

    def cells(self) -> list[str]:
        """Of a table, under ``HEADS``."""
        return [
            text
            for count, macs, seconds in zip(self.of_ends, self.macs, self.seconds, strict=True)
            for text in (f"{count / 1e6:.3g}", f"{macs / 1e9:.3g}", f"{seconds * 1e3:.0f}")
        ]


@torch.inference_mode()
def cost_of(
    codec: JsccCodec,
    size: tuple[int, int],
    ratio: Fraction | None = None,
    repeats: int = 3,
    clock: Callable[[], float] = perf_counter,
) -> Cost:
    """``size``: (H, W) of the image; ``ratio``: None for the codec's default; ``clock``: of the
    seconds. Raises ``SettingsError`` at a ratio that it does not have."""
    codec = codec.eval()
    ratio = ratio or codec.bandwidth_ratio
    codec.check_ratio(ratio)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, *size, generator=generator)
    csi = Csi.of(SNR_DB)
    k = codec.k(ratio, size)
    noise = torch.randn(1, k, dtype=torch.complex64, generator=generator)
    air = Air(csi, csi, noise)

    def encode() -> tuple[Tensor, bytes]:
        rounds, side = codec.sent_over(image, air, ratio)
        return torch.cat([each.received for each in rounds], dim=1), side

    received, side = encode()

    def decode() -> Tensor:
        return codec.decode(received, csi, size, side=side)

    macs, seconds = [], []
    for run in (encode, decode):
        with FlopCounterMode(display=False) as counted:
            run()  # warms up, too
        macs.append(counted.get_total_flops() / 2)
        times = []
        for _ in range(repeats):
            began = clock()
            run()
            times.append(clock() - began)
        seconds.append(statistics.median(times))
    count = [sum(p.numel() for p in part.parameters()) for part in (encoder_of(codec), codec)]
    return Cost((count[0], count[1]), (macs[0], macs[1]), (seconds[0], seconds[1]), k)


def encoder_of(codec: JsccCodec) -> torch.nn.Module:
    """The sub-module that is the transmitter's half; an empty one where a codec has none."""
    try:
        return codec.get_submodule(codec.encoder_name)
    except AttributeError:
        return torch.nn.Module()
