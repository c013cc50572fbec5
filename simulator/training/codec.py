"""Stage 1: train a codec, equation (6). ``diffjscc train codec --help`` lists the knobs.

crops -codec, over random channels-> reconstruction -losses (``codec_loss``)-> Adam steps

Adam 1e-3 with a cosine over all steps, as in the paper. With ``adversarial`` a discriminator
plays against the codec: after each step of the codec it makes one of its own. ``freeze =
"encoder"`` trains the receiver's half alone, so that transmitters need not change.

Crops, ratios, SNR, gains and noise are functions of (seed, step), so that an interrupted
training continues with exactly the steps it would have made.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam

from simulator.errors import ModelError, SettingsError
from simulator.images import find_images, load_image
from simulator.jscc.chain import reconstruct
from simulator.jscc.checkpoint import load_codec, save_codec
from simulator.jscc.codec import JsccCodec
from simulator.jscc.folder import read_codec_folder
from simulator.jscc.rates import BANDWIDTH_RATIOS, channels_of, parse_ratio
from simulator.jscc.registry import codec_class
from simulator.process import pick_device
from simulator.training.card import model_card, named
from simulator.training.codec_loss import CodecLosses, send_crops
from simulator.training.codec_options import CodecTraining
from simulator.training.options import check_options, check_same
from simulator.training.phase import SMALLEST
from simulator.training.photographs import Photographs
from simulator.training.progress import Progress
from simulator.training.schedule import learning_rate
from simulator.training.state import FILE, put_back, read_tensors, save_state

CLIP_NORM = 5.0
MEASURE_STEPS = 20  # before --minutes is turned into a number of steps


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
    to_train(codec, options)
    return table


def to_train(codec: JsccCodec, options: CodecTraining) -> None:
    """Training mode; a frozen encoder keeps the statistics of its normalisations, too."""
    codec.train()
    if options.freeze == "encoder":
        codec.get_submodule(codec.encoder_name).requires_grad_(False).eval()


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
    check_codec(options)
    options = replace(options, device=pick_device(options.device))
    out.mkdir(parents=True, exist_ok=True)
    if options.threads:
        torch.set_num_threads(options.threads)
    codec = build_codec(options).to(options.device)
    to_train(codec, options)
    if options.device == "cpu":
        codec = codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    losses = CodecLosses(options)
    players: dict[str, tuple[nn.Module, Adam]] = {"": (codec, adam_of(codec, options))}
    if losses.critic is not None:
        players["critic."] = (losses.critic, adam_of(losses.critic, options))
    progress = Progress(steps=options.steps)
    checkpoint = out / FILE
    if checkpoint.is_file():
        record, tensors = read_tensors(checkpoint)
        check_same(record["options"], options, checkpoint)
        put_back(checkpoint, tensors, players)
        progress = Progress(**record["progress"])
    run_steps(codec, losses, players, options, progress, out, report, stop)
    training = {"options": named(asdict(options)), "progress": progress.record()}
    training["progress"].pop("psnr", None)
    if options.init:
        training["init"] = read_codec_folder(options.init).training
    training["validation"] = validate(codec, options) if options.validation else {}
    save_codec(codec, out, training)
    (out / "README.md").write_text(model_card(training))
    return out


def check_codec(options: CodecTraining) -> None:
    """Raises ``SettingsError`` where a training cannot be made."""
    check_options(options)
    if options.lpips and options.crop < SMALLEST:
        raise SettingsError(f"--lpips needs crops of {SMALLEST} px or more: --crop {SMALLEST}.")
    if options.freeze == "encoder" and not options.init:
        raise SettingsError("--freeze encoder needs an encoder that has learnt: --init FOLDER.")


def adam_of(network: nn.Module, options: CodecTraining) -> Adam:
    trained = [p for p in network.parameters() if p.requires_grad]
    return Adam(trained, lr=options.learning_rate)


def descend(network: nn.Module, adam: Adam, loss: Tensor) -> None:
    """One step of Adam down the gradient, whose norm is bounded."""
    adam.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
    adam.step()


def run_steps(
    codec: JsccCodec,
    losses: CodecLosses,
    players: dict[str, tuple[nn.Module, Adam]],
    options: CodecTraining,
    progress: Progress,
    out: Path,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> None:
    """The loop: one Adam step after another for each player, checkpoints and validation by time."""
    photographs = Photographs(
        [Path(p) for p in options.data], options.crop, options.batch, options.seed
    )
    saved = validated = time.monotonic()
    wall, cpu = time.monotonic() - progress.wall_s, time.process_time() - progress.cpu_s
    start, bound = progress.step, progress.steps or 1 << 40
    measured = time.monotonic()

    def save() -> None:
        record = {"options": asdict(options), "progress": progress.record()}
        save_state(out / FILE, players, record)

    for crops in photographs.stream(start, bound):
        peak = options.learning_rate
        rate = learning_rate(progress.step, progress.steps or 1 << 40, peak)
        for _, adam in players.values():
            for group in adam.param_groups:
                group["lr"] = rate
        sent = send_crops(codec, crops, progress.step, options)
        loss = losses.of_codec(sent)
        descend(*players[""], loss)
        if "critic." in players:
            descend(*players["critic."], losses.of_critic(sent))
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
