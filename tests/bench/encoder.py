"""Encoder and decoder time of ``adaptive`` and ``cnn`` at 768x512, on one and two threads."""

from __future__ import annotations

import shutil
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from rich import box
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from simulator.images import sample_photographs
from simulator.jscc import Csi
from simulator.jscc.adaptive import AdaptiveCodec
from simulator.jscc.cnn import CnnCodec
from simulator.jscc.codec import JsccCodec
from simulator.jscc.folder import ENCODER, ENCODER_INT8, read_codec_folder, resolve
from simulator.jscc.signal import ToEncode
from simulator.phy.state import ChannelState
from simulator.training.quantize import export_int8
from tests.bench.timing import median_s
from tx.encoder import OnnxEncoder

SIZE = (512, 768)
RATIO = Fraction(1, 384)


def gmac(call) -> float:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        call()
    return counter.get_total_flops() / 2e9


def peak_gflops(threads: int) -> float:
    """What a plain 3x3 convolution reaches here: a practical limit for the codecs."""
    torch.set_num_threads(threads)
    layer = torch.nn.Conv2d(128, 128, 3, padding=1)
    x = torch.rand(1, 128, 128, 128)
    with torch.inference_mode():
        seconds = median_s(lambda: layer(x))
    return 2 * 128 * 128 * 9 * 128 * 128 / seconds / 1e9


def run() -> Table:
    image = torch.rand(1, 3, *SIZE)
    pixels = (image[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    csi = Csi.of(10.0)
    codecs: dict[str, JsccCodec] = {
        "adaptive": AdaptiveCodec().eval(),
        "cnn": CnnCodec(c_channel=4).eval(),
    }
    table = Table(title="codec at 768x512, 1/384", box=box.SIMPLE_HEAD)
    heads = (
        "what",
        "GMAC",
        "M params",
        "1 thread ms",
        "2 threads ms",
        "of a 3x3 conv",
        "against cnn",
    )
    for head in heads:
        table.add_column(head, justify="left" if head == "what" else "right")
    peaks = {threads: peak_gflops(threads) for threads in (1, 2)}
    rows: list[tuple[str, str, float, float, list[float]]] = []
    for name, codec in codecs.items():
        symbols = codec.encode(image, csi, RATIO).symbols
        calls = {
            "encoder": lambda c=codec: c.encode(image, csi, RATIO),
            "decoder": lambda c=codec, s=symbols: c.decode(s, csi, SIZE),
        }
        halves = {"encoder": codec_half(codec, 0), "decoder": codec_half(codec, 1)}
        for part, call in calls.items():
            times = []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                with torch.inference_mode():
                    times.append(median_s(call, repeats=9))
            params = sum(p.numel() for p in halves[part].parameters()) / 1e6
            rows.append((part, f"{name}, torch", gmac(call), params, times))
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(resolve("compact"), Path(scratch) / "codec")
        photographs = [str(path) for path in sample_photographs()]
        export_int8(f"{scratch}/codec", photographs)
        folder = read_codec_folder(f"{scratch}/codec")
        for label, file in (("ONNX (what tx runs)", ENCODER), ("ONNX, int8", ENCODER_INT8)):
            times = []
            for threads in (1, 2):
                encoder = OnnxEncoder(folder, threads, file)
                times.append(
                    median_s(
                        lambda e=encoder: e.encode(ToEncode(pixels, ChannelState(10.0), RATIO))
                    )
                )
            rows.append(("encoder", f"adaptive, {label}", rows[0][2], rows[0][3], times))
    slow = {part: times for part, name, _, _, times in rows if name.startswith("cnn")}
    for part, name, macs, params, times in sorted(rows, key=lambda r: (r[0] != "encoder", r[1])):
        table.add_row(
            f"{part} {name}",
            f"{macs:.2f}",
            f"{params:.2f}",
            *(f"{t * 1e3:.1f}" for t in times),
            f"{2 * macs / times[0] / peaks[1]:.0%}",
            f"{slow[part][0] / times[0]:.1f}x, {slow[part][1] / times[1]:.1f}x",
        )
    table.caption = (
        f"a plain 3x3 convolution, 128 to 128 at 128x128: {peaks[1]:.0f} GFLOP/s on one thread, "
        f"{peaks[2]:.0f} on two"
    )
    return table


def codec_half(codec: JsccCodec, index: int) -> torch.nn.Module:
    """The encoder (0) or decoder (1) module of a codec."""
    return list(codec.children())[index]
