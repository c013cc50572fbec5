"""The diffusion receiver: seconds an image, memory, and how near the arithmetic limit it comes.

Where CUDA is: the full-size pipeline of Stable Diffusion 2.1's shape with random weights, bf16,
768x512, 50 steps, batches of 1 and 8. Elsewhere the same code on a tiny model, and the compact
model as it ships.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from rich import box
from rich.console import Group
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from rx.control import ControlModule
from rx.load import speed_up
from rx.pipeline import DiffJSCCPipeline
from rx.seconds import SECONDS
from simulator.jscc.csi import Csi
from simulator.models.folder import INDEX, find_model
from simulator.receiving import RxSettings
from tests.bench.timing import median_s
from tests.tiny import SD21_UNET, awaken, build_tiny_model, tiny_scheduler, tiny_tokenizer

PHOTOGRAPH = (512, 768)


@dataclass(frozen=True)
class Case:
    """What is measured, and on what: ``size`` is (H, W) in pixels."""

    device: str
    dtype: torch.dtype
    size: tuple[int, int]
    steps: int
    batches: tuple[int, ...]
    repeats: int


FULL = Case("cuda", torch.bfloat16, PHOTOGRAPH, steps=50, batches=(1, 8), repeats=3)
TINY = Case("cpu", torch.float32, (64, 96), steps=4, batches=(1, 2), repeats=3)


@dataclass(frozen=True)
class Variant:
    """``settings``: of rx, as ``rx.load`` applies them; ``call``: options of each call."""

    settings: RxSettings = field(default_factory=RxSettings)
    call: Mapping[str, int] = field(default_factory=dict)
    fused: bool = True

    def apply(self, pipeline: DiffJSCCPipeline) -> None:
        if not self.fused:
            for network in (pipeline.unet, pipeline.control):
                network.set_attn_processor(AttnProcessor())
        if self.settings.channels_last:
            pipeline.vae.to(memory_format=torch.channels_last)
        speed_up(pipeline, self.settings)


LAST = RxSettings(channels_last=True)
VARIANTS = {
    "attention not fused": Variant(fused=False),
    "SDPA (default)": Variant(),
    "SDPA, channels-last": Variant(LAST),
    "control module at every 2nd step": Variant(LAST, {"control_every": 2}),
    "deep blocks at every 2nd step": Variant(LAST, {"deep_every": 2}),
    "both": Variant(LAST, {"control_every": 2, "deep_every": 2}),
}
# On a processor they say nothing, and to compile takes minutes.
COMPILED = RxSettings(channels_last=True, compile="inductor")
GRAPHS = RxSettings(channels_last=True, compile="cuda-graphs")
CUDA_VARIANTS = VARIANTS | {
    "SDPA, channels-last, torch.compile": Variant(COMPILED),
    "the same with CUDA graphs": Variant(GRAPHS),
    "and both at every 2nd step": Variant(GRAPHS, {"control_every": 2, "deep_every": 2}),
}


def full_size(device: str, dtype: torch.dtype) -> DiffJSCCPipeline:
    """Networks of Stable Diffusion 2.1-base's shape, random, made where they run."""
    with torch.device(device):
        unet = UNet2DConditionModel(**SD21_UNET).to(dtype)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
        ).to(dtype)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=49408,
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=23,
                num_attention_heads=16,
                hidden_act="gelu",
            )
        ).to(dtype)
        control = awaken(ControlModule.from_unet(unet), scale=1e-3)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = tiny_tokenizer(Path(folder))
    for network in (unet, vae, text_encoder, control):
        network.eval()
    return DiffJSCCPipeline(
        vae, unet, control, text_encoder, tokenizer, tiny_scheduler("sd21"), steps=50
    )


def tiny(device: str, dtype: torch.dtype) -> DiffJSCCPipeline:
    with tempfile.TemporaryDirectory() as folder:
        build_tiny_model(Path(folder), "sd21", captioner="")
        return DiffJSCCPipeline.from_pretrained(folder, dtype=dtype).to(device)


def call(pipeline: DiffJSCCPipeline, case: Case, batch: int, **options: Any) -> Callable[[], Any]:
    """Refining one batch; captions are given, because their model is another one."""
    image = torch.rand(batch, 3, *case.size, device=case.device)
    csi = Csi.of(5.0, 1, batch, case.device)
    captions = ["a lighthouse on a rock above the sea"] * batch
    return lambda: pipeline(image, csi, captions, steps=case.steps, **options)


def flops(pipeline: DiffJSCCPipeline, case: Case) -> float:
    """Floating-point operations of one image, counted over one step and over two."""
    counted = []
    for steps in (1, 2):
        with FlopCounterMode(display=False) as counter:
            call(pipeline, replace(case, steps=steps), 1)()
        counted.append(counter.get_total_flops())
    return counted[0] + (case.steps - 1) * (counted[1] - counted[0])


def peak_flops(case: Case) -> float:
    """FLOP/s of a large matrix product in the same precision: the limit to compare with."""
    side = 8192 if case.device == "cuda" else 1024
    a = torch.randn(side, side, device=case.device, dtype=case.dtype)

    def product() -> None:
        torch.mm(a, a)
        settle(case.device)

    return 2 * side**3 / median_s(product)


def settle(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measure(build: Callable[..., DiffJSCCPipeline], case: Case, title: str) -> Table:
    """A table of all variants; each starts from a pipeline of its own."""
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for head in ("variant", "batch", "s an image", "peak GiB", "of the FLOP limit"):
        table.add_column(head, justify="left" if head == "variant" else "right")
    limit = peak_flops(case)
    needed = flops(build(case.device, case.dtype), case)
    for name, variant in (CUDA_VARIANTS if case.device == "cuda" else VARIANTS).items():
        torch.compiler.reset()
        pipeline = build(case.device, case.dtype)
        variant.apply(pipeline)
        for batch in case.batches:
            if case.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            try:
                again = call(pipeline, case, batch, **variant.call)
                seconds = median_s(again, case.repeats, warm=2) / batch
            except torch.cuda.OutOfMemoryError:
                table.add_row(name, str(batch), "out of memory", "", "")
                continue
            table.add_row(
                name,
                str(batch),
                f"{seconds:.3f}",
                f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if case.device == "cuda" else "",
                "" if variant.call else f"{needed / seconds / limit:.0%}",  # it computes less
            )
        del pipeline
        if case.device == "cuda":
            torch.cuda.empty_cache()
    table.caption = (
        f"{case.size[1]}x{case.size[0]}, {case.steps} steps, {case.dtype}: "
        f"{needed / 1e12:.3g} TFLOP an image; a matrix product reaches {limit / 1e12:.3g} TFLOP/s"
    )
    return table


def compact() -> Table | None:
    """The shipped model at 768x512, without diffusion and with it, where its time goes."""
    if not (find_model("compact") / INDEX).is_file():
        return None
    pipeline = DiffJSCCPipeline.from_pretrained("compact")
    image = torch.rand(1, 3, *PHOTOGRAPH)
    table = Table(title="compact model, 768x512, fp32 on the processor", box=box.SIMPLE_HEAD)
    for head in ("threads", "diffusion", *SECONDS, "all s"):
        table.add_column(head, justify="right")
    threads_before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name, on in (("off", False), ("on", True)):
            pipeline(image, Csi.of(5.0), steps=1, diffusion=on)
            runs = [pipeline(image, Csi.of(5.0), diffusion=on).seconds for _ in range(3)]
            best = min(runs, key=lambda seconds: sum(seconds.values()))
            times = [best[part] for part in SECONDS]
            told = (f"{each:.2f}" for each in (*times, sum(times)))
            table.add_row(str(threads), name, *told)
    torch.set_num_threads(threads_before)
    table.caption = f"{pipeline.config.steps} steps of {pipeline.config.solver}; best of three runs"
    return table


def run() -> Group:
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        tables = [measure(full_size, FULL, f"pipeline of SD 2.1's size, random weights, {name}")]
    else:
        title = "no GPU here: the benchmark's code on a tiny model (its figures mean nothing)"
        tables = [measure(tiny, TINY, title)]
    shipped = compact()
    return Group(*tables, *([shipped] if shipped else []))
