"""Stage 2: the control module, equation (15). ``diffjscc train control --help``.

    x^ -> f_v, caption -> f_t, CSI ---- control module ---+
    z_0 + noise at a random time ------------ UNet -------+-> noise (or velocity)

Prior, autoencoder, text encoder, codec and captioner are frozen; the control module starts from
the UNet's own weights, with new inputs and outputs at zero. ``unfreeze = "decoder"`` trains the
decoder half of the UNet, too, for a prior that is small. ``sampled``
trains on what the folder's few steps make, instead of on one step at a random time.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from rx.captioner import load_captioner
from rx.conditions import Conditions
from rx.control import ControlModule
from rx.pipeline import DiffJSCCPipeline
from rx.sketch import as_sketch
from simulator.errors import SettingsError, path_from
from simulator.jscc import load_codec
from simulator.jscc.csi import Csi
from simulator.jscc.folder import read_codec_folder, resolve
from simulator.jscc.sketched import SketchCodec
from simulator.metrics.fidelity import psnr
from simulator.metrics.limits import capped
from simulator.tensors import as_pixels
from simulator.training.checks import check_looped
from simulator.training.clock import Clock
from simulator.training.diffusion import denoising_loss, draw_times, noised, target_of
from simulator.training.filling import fill
from simulator.training.held_out import Received, received_of
from simulator.training.latents import CELL, FADED, LatentCache, crop_of, sketching_of
from simulator.training.loop import Loop
from simulator.training.model_card import write_record
from simulator.training.model_folder import (
    forget_paths,
    load_control,
    load_scheduler,
    load_text,
    load_unet,
    load_vae,
    quiet,
    restoration_of,
    start_of,
)
from simulator.training.options import Channel, ControlTraining
from simulator.training.phase import draw_phase
from simulator.training.pictures import write_picture
from simulator.training.player import Player, averaged
from simulator.training.progress import Progress
from simulator.training.sampled import SQUARE_CELLS, Decoder, sampled_players
from simulator.training.stage import Batch, Stage
from simulator.training.texts import tokens_of

TOLD = 0.5  # of the crops have the caption that a transmitter would send
DECODER = ("up_blocks", "conv_norm_out", "conv_out")


def channel_of(folder: Path) -> Channel:
    """What a codec was trained for: its network says it, or the record of its training.

    ``both`` where neither does.
    """
    record = read_codec_folder(str(folder))
    if record.name == "swin-official":
        return "awgn"
    said = record.config.get("channel") or record.training.get("options", {}).get("channel")
    found: Channel = said if said in FADED else "both"
    return found


class ControlLosses(nn.Module):
    """Equation (15): the denoising loss with control; only the control module (and, where
    asked, the UNet's decoder) has a gradient."""

    def __init__(
        self,
        control: ControlModule,
        unet: UNet2DConditionModel,
        text: CLIPTextModel,
        scheduler: DDPMScheduler,
        options: ControlTraining,
    ) -> None:
        super().__init__()
        self.control, self.unet, self.text, self.scheduler = control, unet, text, scheduler
        self.options = options
        self.unet.requires_grad_(False)
        self.text.requires_grad_(False)
        if options.unfreeze == "decoder":
            for name in DECODER:
                part = getattr(self.unet, name)
                if part is not None:
                    part.requires_grad_(True)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        z0, noise, times = batch["z0"], batch["noise"], batch["times"]
        z_t = noised(self.scheduler, z0, noise, times)
        predicted = self.output(z_t, times, self.conditions(batch))
        return {"noise": denoising_loss(predicted, target_of(self.scheduler, z0, noise, times))}

    def conditions(self, batch: Batch) -> Conditions:
        """The conditions of equation (9) of a batch."""
        with torch.no_grad():
            features = self.text(batch["tokens"]).last_hidden_state
        csi = Csi(batch["snr_db"], batch["h"])
        return Conditions(batch["f_v"], features, csi, batch.get("sketch"))

    def output(self, z_t: Tensor, times: Tensor, told: Conditions) -> Tensor:
        """What the controlled UNet says at z_t, times (B,)."""
        text = told.text_features
        down, middle = self.control(z_t, times, text, told.spatial_features, told.csi, told.sketch)
        predicted: Tensor = self.unet(
            z_t,
            times,
            text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        return predicted


class ControlStage(Stage):
    name = "control"

    def __init__(self, options: ControlTraining, out: Path) -> None:
        self.options = options
        source = start_of(options.model, out, "vae", "unet")
        self.vae = load_vae(source).requires_grad_(False).eval()
        self.unet, self.scheduler = load_unet(source), load_scheduler(source)
        self.text, self.tokenizer = load_text(source)
        self.codec_folder = resolve(options.codec or source)
        self.codec = load_codec(self.codec_folder).requires_grad_(False).eval()
        self.restoration = restoration_of(source)
        self.captioner = load_captioner(options.captioner)
        torch.manual_seed(options.seed)
        self.control = (
            ControlModule.from_unet(self.unet, snr_scale=options.snr_scale)
            if options.fresh
            else load_control(source)
        )
        self.told = isinstance(self.codec, SketchCodec)  # a text and, mostly, a sketch
        self.sketching = sketching_of(self.codec)
        if self.sketching is not None:
            self.control = self.control.with_sketch((CELL // self.sketching.cell) ** 2)
        for network in (self.control, self.unet):  # an eighth faster on processors
            network.to(memory_format=torch.channels_last)
        if options.gradient_checkpointing:
            self.control.enable_gradient_checkpointing()
            self.unet.enable_gradient_checkpointing()
        self.cache = LatentCache(
            Path(options.cache) if options.cache else out / "training" / "latents",
            [path_from(p) for p in options.data],
            self.vae,
            self.captioner,
            options.seed,
            options.variants,
            self.codec,
            options.snr_db,
            self.restoration,
            channel_of(self.codec_folder) if options.channel == "codec" else options.channel,
        )
        self.decoder = Decoder(self.vae)
        losses = ControlLosses(self.control, self.unet, self.text, self.scheduler, options)
        self.players = (
            sampled_players(losses, self.decoder, options)
            if options.sampled
            else [Player("control", losses, options.learning_rate)]
        )
        self._received: list[Received] | None = None

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Frozen parts in the precision of training; what is trained stays fp32."""
        self.device = device
        self.decoder.to(device)
        self.codec.to(device)
        if self.restoration is not None:
            self.restoration.to(device)
        self.text.to(device, dtype)
        if self.options.unfreeze == "none":
            self.unet.to(device, dtype)

    def batch(self, step: int, process: int, micro: int) -> Batch:
        options = self.options
        rng = np.random.default_rng([options.seed, step, process, micro])
        z0, f_v, sketches, snr_db, h, captions = [], [], [], [], [], []
        for _ in range(options.batch):
            index = self.cache.used[int(rng.integers(len(self.cache.used)))]
            item = self.cache.item(index, int(rng.integers(options.variants)))
            clean, received, sketch = crop_of(item, options.crop // CELL, rng)
            assert clean is not None and received is not None
            z0.append(clean)
            f_v.append(received)
            snr_db.append(item.snr_db)
            h.append(item.h)
            dropped = rng.random() < options.caption_dropout
            caption = item.preview_caption
            if self.told and rng.random() < TOLD:
                caption = item.caption
            captions.append("" if dropped else caption)
            if sketch is not None:
                sketches.append(sketch * bool(rng.random() >= options.sketch_dropout))
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        shape = (len(z0), *z0[0].shape)
        count = self.scheduler.config["num_train_timesteps"]
        return {
            **({"sketch": torch.stack(sketches)} if sketches else {}),
            "z0": torch.stack(z0),
            "f_v": torch.stack(f_v),
            "snr_db": torch.tensor(snr_db),
            "h": torch.tensor(h, dtype=torch.complex64),
            "noise": torch.randn(shape, generator=generator),
            "times": draw_times(len(z0), count, options.times, generator),
            "tokens": tokens_of(self.tokenizer, captions),
            "square": rng.integers(shape[-1] - SQUARE_CELLS + 1, size=2).tolist()
            if options.sampled
            else [],
            "phase": draw_phase(generator),
        }

    @property
    def networks(self) -> dict[str, Any]:
        found = {
            "vae": self.vae,
            "unet": self.unet,
            "control": self.control,
            "text_encoder": self.text,
        }
        return found if self.restoration is None else found | {"restoration": self.restoration}

    def pipeline(self, networks: dict[str, Any]) -> DiffJSCCPipeline:
        """The receiver with these networks, sampled as the options say."""
        options = self.options
        return DiffJSCCPipeline(
            **networks,
            tokenizer=self.tokenizer,
            scheduler=self.scheduler,
            captioner=self.captioner,
            steps=options.sampling_steps,
            solver=options.solver,
            color_fix=options.color_fix,
        )

    def _refined(self, limit: int) -> list[tuple[Received, Tensor]]:
        if self._received is None:
            folders, checked = self.options.validation, self.options.checked
            self._received = received_of(self.codec, folders, checked, self.device)
        pipeline = self.pipeline(self.networks)
        pipeline.set_progress_bar_config(disable=True)
        results = []
        for each in self._received[:limit]:
            image = pipeline(
                each.preview[None],
                each.csi,
                **self._said_of(each.image),
                generator=torch.Generator().manual_seed(each.seed),
            ).images[0]
            results.append((each, image.float().cpu()))
        return results

    def _said_of(self, image: Tensor) -> dict[str, Any]:
        """What a transmitter would say of (3, H, W) beside its symbols, for a call."""
        said: dict[str, Any] = {}
        if self.told:
            said["captions"] = self.captioner.caption(image[None])
        if self.sketching is not None:
            edges = self.sketching.edges(as_pixels(image))
            assert edges is not None
            said["sketch"] = as_sketch([edges], edges.shape)
        return said

    def validate(self) -> dict[str, float]:
        """Means of PSNR and LPIPS-VGG over ``checked`` images and ``held_out.POINTS``."""
        if not self.options.validation:
            return {}
        table: dict[str, list[float]] = {}
        for each, image in self._refined(1000):
            for name, made in (("", image), ("_preview", each.preview)):
                pair = (made[None].to(self.device), each.image[None].to(self.device))
                table.setdefault(f"psnr{name}", []).append(capped(psnr(made, each.image)))
                table.setdefault(f"lpips_vgg{name}", []).append(float(self.decoder.lpips(*pair)))
        return {name: float(np.mean(values)) for name, values in table.items()}

    def picture(self, path: Path) -> None:
        if self.options.validation:
            shown = self._refined(8)
            write_picture([[each.image, each.preview, image] for each, image in shown], path)


def train_control(
    options: ControlTraining,
    out: Path,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    on_cache: Callable[[int, int], None] = lambda done, total: None,
    clock: Clock | None = None,
) -> Path:
    """Train and write a whole model folder, ready for ``diffjscc rx --model``.

    Raises ``SettingsError``, ``ModelError`` and, after a ``stop``, ``KeyboardInterrupt``.
    """
    clock = clock or Clock()
    check_looped(options)
    check_sampled(options)
    stage = ControlStage(options, out)
    fill(stage.cache, options, out / "training", stage.name, clock, on_cache, stop)
    loop = Loop(stage, options, out / "training", report, stop, clock)
    progress = loop.run()
    table = loop.last_look()
    if loop.accelerator.is_main_process:
        with averaged(stage.players):
            write_model(stage, out)
        write_record(out, stage.name, options, progress.record(), table, stage.cache.part())
    return out


def check_sampled(options: ControlTraining) -> None:
    """Raises ``SettingsError``."""
    if options.sampled and options.crop < SQUARE_CELLS * CELL:
        raise SettingsError(f"--sampled needs --crop {SQUARE_CELLS * CELL} or more.")
    if options.sampled and options.solver == "ddpm":
        raise SettingsError("--sampled needs a solver without draws: --solver ddim or dpm++.")
    if options.adversarial and not options.sampled:
        raise SettingsError("--adversarial belongs to --sampled: a critic looks at samples.")


def write_model(stage: ControlStage, out: Path) -> None:
    """Every component in fp16, and the codec."""
    quiet()
    halves = {name: copy.deepcopy(each).half() for name, each in stage.networks.items()}
    stage.pipeline(halves).save_pretrained(out)
    forget_paths(out)
    codec = out / "jscc"
    if stage.codec_folder.resolve() != codec.resolve():
        shutil.copytree(
            stage.codec_folder,
            codec,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("training*", "*.part", "validation*"),
        )
