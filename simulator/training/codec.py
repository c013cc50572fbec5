"""Stage 1: train a codec, equation (6). ``diffjscc train codec --help`` lists the knobs.

Mean squared error over random SNR (and, for ``adaptive``, random bandwidth ratio, fading and
CSIT); Adam 1e-3 with a cosine over all steps, as in the paper. Where a codec serves several
ratios and a wide span of SNR, the mean is over the log of each crop's error: otherwise the
worst states, from which least can be learnt, would outweigh the others tenfold.

Crops, ratios, SNR, gains and noise are functions of (seed, step), so that an interrupted
training continues with exactly the steps it would have made.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam

from simulator.errors import ModelError, SettingsError
from simulator.evaluation.chain import complex_normal, reconstruct, transmit
from simulator.images import find_images, load_image
from simulator.jscc.checkpoint import load_codec, save_codec
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.folder import read_codec_folder
from simulator.jscc.rates import BANDWIDTH_RATIOS, channels_of, parse_ratio
from simulator.jscc.registry import codec_class
from simulator.training.card import model_card, named
from simulator.training.photographs import Photographs
from simulator.training.state import FILE, Progress, load_state, save_state

WARMUP_STEPS = 100
CLIP_NORM = 5.0
LOG_FLOOR = 5e-4  # 33 dB: cells of plain sky are not worth more precision than that
MEASURE_STEPS = 20  # before --minutes is turned into a number of steps


@dataclass(frozen=True)
class CodecTraining:
    """Everything a training run depends on; saved with the weights."""

    codec: str = "adaptive"
    init: str = ""  # a codec folder to start from instead of from scratch
    bandwidth_ratio: str = "1/384"  # for codecs with one ratio
    channel: str = "both"  # awgn, rayleigh, both (adaptive only)
    data: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    steps: int = 0
    minutes: float = 0.0
    batch: int = 8
    crop: int = 192
    learning_rate: float = 1e-3
    snr_db: tuple[float, float] = (-5.0, 20.0)
    seed: int = 0
    device: str = "cpu"
    threads: int = 0
    checkpoint_minutes: float = 5.0
    validate_minutes: float = 15.0


def build_codec(options: CodecTraining) -> JsccCodec:
    """A fresh codec; its initial weights are drawn from the seed."""
    if options.init:
        codec = load_codec(options.init)
        if codec.name != options.codec:
            raise ModelError(f"{options.init} holds codec {codec.name!r}, not {options.codec!r}.")
        return codec
    torch.manual_seed(options.seed)
    cls = codec_class(options.codec)
    if options.codec == "cnn":
        channels = channels_of(parse_ratio(options.bandwidth_ratio))
        kind = "awgn" if options.channel == "awgn" else "rayleigh"
        return cls(c_channel=channels, channel=kind)
    return cls()


def draw_states(options: CodecTraining, generator: torch.Generator) -> tuple[Csi, Csi]:
    """(encoder, decoder) channel states of a batch: SNR uniform in dB; half AWGN, and of the
    faded half one in three with average CSIT (the encoder sees h = 1) where channel = both."""
    batch = options.batch
    low, high = options.snr_db
    snr = low + (high - low) * torch.rand(batch, generator=generator)
    h = complex_normal((batch,), generator)
    mode = torch.rand(batch, generator=generator)
    one = torch.ones(batch, dtype=torch.complex64)
    if options.channel == "awgn":
        return Csi(snr, one), Csi(snr, one)
    if options.channel == "rayleigh":
        return Csi(snr, h), Csi(snr, h)
    faded = torch.where(mode < 0.5, one, h)
    known = torch.where(mode < 5 / 6, faded, one)
    return Csi(snr, known), Csi(snr, faded)


def step_loss(codec: JsccCodec, crops: np.ndarray, step: int, options: CodecTraining) -> Tensor:
    """Equation (6) on the crops, states and noise of one step."""
    generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
    image = torch.from_numpy(crops).to(options.device).permute(0, 3, 1, 2).float() / 255
    if options.device == "cpu":
        image = image.contiguous(memory_format=torch.channels_last)
    encoder_csi, decoder_csi = (s.to(options.device) for s in draw_states(options, generator))
    ratios = codec.bandwidth_ratios
    ratio = ratios[int(torch.randint(len(ratios), (1,), generator=generator))]
    k = codec.layout(ratio, (options.crop, options.crop)).k
    noise = complex_normal((options.batch, k), generator, options.device)
    autocast = torch.autocast("cuda", torch.bfloat16, enabled=options.device.startswith("cuda"))
    with autocast:
        result = transmit(codec, image, encoder_csi, decoder_csi, noise, ratio)
    mse = ((result.float() - image) ** 2).mean(dim=(1, 2, 3))
    return (mse + LOG_FLOOR).log().mean() if len(ratios) > 1 else mse.mean()


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, then half a cosine down to zero at ``steps``."""
    return peak * min(1, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / steps))


def validate(codec: JsccCodec, options: CodecTraining) -> dict[str, float]:
    """Mean PSNR in dB over the validation images at each ratio and 1, 10 dB (AWGN)."""
    codec.eval()
    table: dict[str, float] = {}
    images = [
        load_image(path).pixels for path in find_images([Path(p) for p in options.validation])
    ]
    ratios = [r for r in codec.bandwidth_ratios if r in BANDWIDTH_RATIOS]
    for ratio in ratios:
        for snr_db in (1.0, 10.0):
            generator = torch.Generator().manual_seed(options.seed)
            values = [reconstruct(codec, px, ratio, snr_db, generator)[1] for px in images]
            table[f"{ratio}@{snr_db:g}dB"] = round(float(np.mean(values)), 3)
    codec.train()
    return table


def train_codec(
    options: CodecTraining,
    out: Path,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train, checkpointing by time into ``out``, and write the codec folder there.

    Continues where ``out`` was left. ``stop`` is asked after every step; where it says yes, a
    checkpoint is written and ``KeyboardInterrupt`` raised. Returns ``out``. Raises
    ``SettingsError`` and ``ModelError``.
    """
    if options.steps <= 0 and options.minutes <= 0:
        raise SettingsError("say how long to train: --steps N or --minutes M.")
    if not options.data:
        raise SettingsError("say what to train on: --data FOLDER (may be repeated).")
    out.mkdir(parents=True, exist_ok=True)
    if options.threads:
        torch.set_num_threads(options.threads)
    codec = build_codec(options).to(options.device).train()
    if options.device == "cpu":
        codec = codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = Adam(codec.parameters(), lr=options.learning_rate)
    progress = Progress(steps=options.steps)
    checkpoint = out / FILE
    if checkpoint.is_file():
        record = load_state(checkpoint, codec, adam)
        check_same(record["options"], options, out)
        progress = Progress(**record["progress"])
    run_steps(codec, adam, options, progress, out, report, stop)
    training = {"options": named(asdict(options)), "progress": progress.record()}
    training["progress"].pop("psnr", None)
    if options.init:
        training["init"] = read_codec_folder(options.init).training
    training["validation"] = validate(codec, options) if options.validation else {}
    save_codec(codec, out, training)
    (out / "README.md").write_text(model_card(training))
    return out


def check_same(before: dict[str, Any], options: CodecTraining, out: Path) -> None:
    """An interrupted training continues as it was, or not at all."""
    now = json.loads(json.dumps(asdict(options)))
    free = ("device", "threads", "checkpoint_minutes", "validate_minutes", "validation")
    changed = [key for key in now if key not in free and now[key] != before.get(key)]
    if changed:
        raise ModelError(
            f"{out} holds a training with other settings ({', '.join(changed)}); "
            f"give the same ones, or another --out."
        )


def run_steps(
    codec: JsccCodec,
    adam: Adam,
    options: CodecTraining,
    progress: Progress,
    out: Path,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> None:
    """The loop: one Adam step after another, checkpoints and validation by time."""
    photographs = Photographs(
        [Path(p) for p in options.data], options.crop, options.batch, options.seed
    )
    saved = validated = time.monotonic()
    wall, cpu = time.monotonic() - progress.wall_s, time.process_time() - progress.cpu_s
    start, bound = progress.step, progress.steps or 1 << 40
    measured = time.monotonic()

    def save() -> None:
        record = {"options": asdict(options), "progress": progress.record()}
        save_state(out / FILE, codec, adam, record)

    for crops in photographs.stream(start, bound):
        peak = options.learning_rate
        rate = learning_rate(progress.step, progress.steps or 1 << 40, peak)
        for group in adam.param_groups:
            group["lr"] = rate
        loss = step_loss(codec, crops, progress.step, options)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(codec.parameters(), CLIP_NORM)
        adam.step()
        progress.step += 1
        progress.loss = float(loss.detach())
        progress.wall_s, progress.cpu_s = time.monotonic() - wall, time.process_time() - cpu
        if not progress.steps and progress.step == MEASURE_STEPS:
            pace = (time.monotonic() - measured) / MEASURE_STEPS
            progress.steps = max(2 * MEASURE_STEPS, int(options.minutes * 60 / pace))
        report(progress)
        if stop():
            save()
            raise KeyboardInterrupt
        if time.monotonic() - saved > options.checkpoint_minutes * 60:
            save()
            saved = time.monotonic()
        if options.validation and time.monotonic() - validated > options.validate_minutes * 60:
            table = validate(codec, options)
            progress.psnr = float(np.mean(list(table.values())))
            with (out / "validation.jsonl").open("a") as file:
                file.write(json.dumps({**progress.record(), **table}) + "\n")
            validated = time.monotonic()
        if progress.step == progress.steps:
            break
    save()
