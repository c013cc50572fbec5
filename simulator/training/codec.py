"""Stage 1: train a codec, equation (6). ``diffjscc train codec --help`` lists the knobs.

crops -codec, over random channels-> reconstruction -losses (``codec_loss``)-> Adam steps

With ``adversarial`` a discriminator plays against the codec: after each step of the codec it
makes one of its own. ``freeze = "encoder"`` trains the receiver's half alone, so that transmitters
need not change. What is written is the moving average of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from simulator.errors import ModelError, SettingsError, path_from
from simulator.images import find_images, load_image
from simulator.jscc.adaptive import AdaptiveCodec, Block
from simulator.jscc.chain import reconstruct
from simulator.jscc.checkpoint import load_codec, save_codec
from simulator.jscc.codec import JsccCodec
from simulator.jscc.folder import read_codec_folder
from simulator.jscc.rates import BANDWIDTH_RATIOS, parse_ratio
from simulator.jscc.registry import codec_class
from simulator.jscc.wrapped import WrappedCodec
from simulator.metrics.lpips import load_lpips_vgg
from simulator.tensors import as_tensor, unit
from simulator.toml import assign_text
from simulator.training.card import model_card, names_of_folders
from simulator.training.checks import check_options
from simulator.training.clock import Clock
from simulator.training.codec_loss import CodecCriticLosses, CodecLosses, draw_channel
from simulator.training.discriminator import PatchDiscriminator
from simulator.training.loop import Loop
from simulator.training.options import CodecTraining
from simulator.training.phase import SMALLEST
from simulator.training.photographs import Photographs
from simulator.training.pictures import write_picture
from simulator.training.player import Player, averaged
from simulator.training.progress import Progress
from simulator.training.stage import Batch, Stage
from simulator.wholefile import write_whole

CHECKED_DB = (1.0, 10.0)
START_STEP, START_BATCHES = 1 << 40, 4  # crops that no step of the training sees


def build_codec(options: CodecTraining) -> JsccCodec:
    """A fresh codec; its initial weights are drawn from the seed."""
    if options.init:
        if options.config or options.bandwidth_ratio:
            raise SettingsError(
                f"--init {options.init} brings its sizes and ratios: leave out --config and --cbr."
            )
        codec = load_codec(options.init)
        if codec.name != options.codec:
            raise ModelError(f"{options.init} holds codec {codec.name!r}, not {options.codec!r}.")
        return codec
    torch.manual_seed(options.seed)
    ratio = parse_ratio(options.bandwidth_ratio) if options.bandwidth_ratio else None
    config: dict[str, Any] = {}
    for each in options.config:
        assign_text(config, each, "width=64", "--config")
    kind = codec_class(options.codec)
    if issubclass(kind, WrappedCodec):
        raise SettingsError(
            f"codec {options.codec!r} goes around another one: make it by 'diffjscc wrap "
            f"{options.codec} CODEC --out FOLDER', and train it with --init FOLDER."
        )
    known = list(signature(kind).parameters)
    if strangers := [name for name in config if name not in known]:
        raise SettingsError(
            f"codec {options.codec!r} is not made with {strangers[0]}; --config takes "
            f"{', '.join(known) or 'nothing'} of it."
        )
    try:
        codec = kind.made_for(ratio, options.channel, **config)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise SettingsError(
            f"codec {options.codec!r} is not made with {', '.join(options.config)}: {reason}."
        ) from None
    if ratio is not None and list(codec.bandwidth_ratios) != [ratio]:
        told = ", ".join(map(str, codec.bandwidth_ratios))
        raise SettingsError(
            f"codec {options.codec!r} has {told}, whatever --cbr says: leave it out, and choose of "
            "several by --ratio."
        )
    return codec


class CodecStage(Stage):
    name = "codec"

    def __init__(self, options: CodecTraining) -> None:
        self.options = options
        self.photographs = Photographs.of(options)
        self.codec = build_codec(options)
        self.partly = self.codec.partly
        wanted = self.codec.learns_over
        if wanted and options.channel != wanted:
            raise SettingsError(
                f"codec {self.codec.name!r} learns over {wanted} alone: --channel {wanted}."
            )
        self.ratios = [parse_ratio(each) for each in options.ratios]
        for ratio in self.ratios:
            self.codec.check_ratio(ratio)
        if isinstance(self.codec, AdaptiveCodec) and not options.init:
            side = options.crop  # some batches have larger crops
            crops = [self.photographs.at(START_STEP + i) for i in range(START_BATCHES)]
            self.codec.start(unit(torch.cat([each[..., :side, :side] for each in crops]).cpu()))
        self.codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.lpips = load_lpips_vgg() if options.lpips else None
        self.losses = CodecLosses(self.codec, self.lpips, options)
        if not any(each.requires_grad for each in self.losses.parameters()):
            raise SettingsError(f"codec {self.codec.name!r} has nothing to train.")
        self.players = [Player("codec", self.losses, options.learning_rate)]
        if options.adversarial:
            torch.manual_seed(options.seed + 1)
            critic = PatchDiscriminator()
            self.losses.adversary = critic.judge_frozen
            network = CodecCriticLosses(critic, self.losses)
            self.players.append(Player("critic", network, options.learning_rate, averaged=False))

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        if self.lpips is not None:
            self.lpips.to(device)
        if device.type == "cuda":
            self.photographs.stay_on(device)

    def batch(self, step: int, process: int, micro: int) -> Batch:
        index = (step * 1024 + process) * 64 + micro
        image = unit(self.photographs.at(index))
        image = image.contiguous(memory_format=torch.channels_last)
        seed = self.options.seed * 1_000_003 + index
        air = {"clip": self.options.clip, "scramble": self.options.scramble}
        return {"image": image, "seed": seed, **air}

    def prepare(self, batch: Batch) -> Batch:
        return draw_channel(self.codec, batch, self.options, self.ratios)

    def compiled(self) -> list[nn.Module]:
        """The blocks of ``adaptive``: those of one width are compiled once for all."""
        if not self.options.compile:
            return []
        if isinstance(self.codec, AdaptiveCodec):
            return [each for each in self.codec.modules() if isinstance(each, Block)]
        return [self.codec]

    def recorded(self, batch: Batch) -> Hashable | None:
        """A graph for each ratio and size of crops. Beside an adversary or LPIPS, and of a codec
        that ``draws``, steps draw where they compute; clipping brings its sequence with it."""
        options = self.options
        if options.adversarial or options.lpips or options.clip or self.codec.draws:
            return None
        return batch["ratio"], tuple(batch["image"].shape)

    def validate(self) -> dict[str, float]:
        """Mean PSNR in dB over the validation images at each ratio and 1, 10 dB (AWGN)."""
        table: dict[str, float] = {}
        if not self.options.validation:
            return table
        paths = find_images([path_from(p) for p in self.options.validation])
        images = [load_image(path).pixels for path in paths]
        ratios = self.codec.bandwidth_ratios
        for ratio in [r for r in ratios if r in BANDWIDTH_RATIOS] or ratios:
            for snr_db in CHECKED_DB:
                generator = torch.Generator().manual_seed(self.options.seed)
                values = [reconstruct(self.codec, px, ratio, snr_db, generator)[1] for px in images]
                table[f"{ratio}@{snr_db:g}dB"] = round(float(np.mean(values)), 3)
        return table | {"psnr": float(np.mean(list(table.values())))}

    def picture(self, path: Path) -> None:
        """Four validation images as sent and as received, at the middle ratio and 10 dB."""
        rows = []
        ratios = self.codec.bandwidth_ratios
        for each in find_images([path_from(p) for p in self.options.validation])[:4]:
            pixels = load_image(each).pixels
            generator = torch.Generator().manual_seed(self.options.seed)
            made, _ = reconstruct(self.codec, pixels, ratios[len(ratios) // 2], 10.0, generator)
            rows.append([as_tensor(a) for a in (pixels, made)])
        if rows:
            write_picture(rows, path)


def train_codec(
    options: CodecTraining,
    out: Path,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
) -> Path:
    """Train and write the codec folder ``out``. Continues where ``out/training`` was left.

    ``stop`` is asked after every step; where it says yes, a checkpoint is written and
    ``KeyboardInterrupt`` raised. Returns ``out``. Raises ``SettingsError`` and ``ModelError``.
    """
    clock = clock or Clock()
    check_codec(options)
    stage = CodecStage(options)
    loop = Loop(stage, options, out / "training", report, stop, clock)
    progress = loop.run()
    table = loop.last_look()
    if loop.accelerator.is_main_process:
        training = {"options": names_of_folders(asdict(options)), "progress": progress.record()}
        for name in ("psnr", "lpips_vgg"):
            training["progress"].pop(name, None)
        if options.init:
            training["init"] = read_codec_folder(options.init).training
        training["validation"] = {k: v for k, v in table.items() if k != "psnr"}
        with averaged(stage.players):
            save_codec(stage.codec, out, training)
        write_whole(out / "README.md", model_card(training))
    return out


def check_codec(options: CodecTraining) -> None:
    """Raises ``SettingsError`` where a training cannot be made."""
    check_options(options)
    if options.clip and options.channel == "mimo":
        raise SettingsError("--clip is not computed over --channel mimo: leave one of them out.")
    if options.scramble and not (options.clip and options.channel == "multipath"):
        raise SettingsError("--scramble belongs to --clip and --channel multipath.")
    if options.lpips and options.crop < SMALLEST:
        raise SettingsError(f"--lpips needs crops of {SMALLEST} px or more: --crop {SMALLEST}.")
    if options.freeze == "encoder" and not options.init:
        raise SettingsError("--freeze encoder needs an encoder that has learnt: --init FOLDER.")
