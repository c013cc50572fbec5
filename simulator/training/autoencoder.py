"""The autoencoder of the latent space, f = 8: ``diffjscc train autoencoder --help``.

image -encoder-> posterior -draw-> latent -decoder-> image
loss = L1 + w_lpips LPIPS + w_kl KL [+ w_adv hinge of a patch discriminator]
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from simulator.errors import SettingsError, path_from
from simulator.images import find_images, load_image
from simulator.metrics.fidelity import psnr
from simulator.metrics.limits import capped
from simulator.metrics.lpips import LpipsVgg, load_lpips_vgg
from simulator.tensors import as_tensor, unit
from simulator.training.autoencoder_start import start_linear
from simulator.training.checks import check_groups, check_looped
from simulator.training.clock import Clock
from simulator.training.discriminator import PatchDiscriminator, hinge_loss
from simulator.training.loop import Loop
from simulator.training.model_card import write_record
from simulator.training.model_folder import load_vae, save_half
from simulator.training.options import AutoencoderTraining
from simulator.training.phase import SMALLEST, at_phase, draw_phase
from simulator.training.photographs import Photographs
from simulator.training.pictures import write_picture
from simulator.training.player import Player, averaged
from simulator.training.progress import Progress
from simulator.training.stage import Batch, Stage

CELL = 8  # pixels a latent cell
LATENT_SAMPLES = 64  # crops that the scaling factor is measured on


class AutoencoderLosses(nn.Module):
    """The loss terms of a batch; keeps the last reconstruction for the discriminator."""

    def __init__(self, vae: AutoencoderKL, lpips: LpipsVgg, options: AutoencoderTraining) -> None:
        super().__init__()
        self.vae, self.lpips, self.options = vae, lpips, options
        self.adversary: Callable[[Tensor], Tensor] | None = None
        self.last: Tensor | None = None

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        image, options = batch["image"], self.options
        posterior = self.vae.encode(image * 2 - 1).latent_dist
        generator = torch.Generator().manual_seed(batch["seed"])
        noise = torch.randn(posterior.mean.shape, generator=generator).to(image.device)
        latent = posterior.mean + posterior.std * noise
        output = self.vae.decode(latent).sample * 0.5 + 0.5
        terms = {"l1": (output - image).abs().mean()}
        if options.lpips:
            phase = draw_phase(generator)
            pair = (at_phase(each, phase) for each in (output, image))
            terms["lpips"] = options.lpips * self.lpips(*pair).mean()
        # A mean over latent values, so that the weight does not depend on the image's size.
        terms["kl"] = options.kl * posterior.kl().sum() / latent.numel()
        self.last = output.detach()
        if self.adversary is not None and batch["done"] >= options.adversarial_start:
            terms["adversarial"] = -options.adversarial * self.adversary(output).mean()
        return terms


class DiscriminatorLosses(nn.Module):
    """Hinge loss on the batch and the reconstruction that was just made of it."""

    def __init__(self, network: PatchDiscriminator, autoencoder: AutoencoderLosses) -> None:
        super().__init__()
        self.network = network
        self._autoencoder = [autoencoder]  # not a sub-module: it is trained elsewhere

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        made = self._autoencoder[0].last
        assert made is not None
        return {"hinge": hinge_loss(self.network(batch["image"]), self.network(made))}


def build_vae(options: AutoencoderTraining) -> AutoencoderKL:
    """A fresh autoencoder with weights drawn from the seed, or the one to start from."""
    if options.init:
        return load_vae(options.init)
    torch.manual_seed(options.seed)
    if len(options.channels) != 4:
        raise SettingsError("--channels: four widths, because the latent is 8 times smaller.")
    vae = AutoencoderKL(
        latent_channels=options.latent_channels,
        block_out_channels=options.channels,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=options.layers,
        norm_num_groups=options.norm_groups,
        mid_block_add_attention=options.mid_attention,
        sample_size=options.crop,
    )
    if options.start == "linear":
        start_linear(vae)
    return vae


class AutoencoderStage(Stage):
    name = "autoencoder"

    def __init__(self, options: AutoencoderTraining) -> None:
        self.options = options
        self.photographs = Photographs.of(options)
        self.vae = build_vae(options).to(memory_format=torch.channels_last)
        self.losses = AutoencoderLosses(self.vae, load_lpips_vgg(), options)
        self.players = [Player("autoencoder", self.losses, options.learning_rate)]
        if options.adversarial:
            torch.manual_seed(options.seed + 1)
            critic = PatchDiscriminator()
            self.losses.adversary = critic.judge_frozen
            network = DiscriminatorLosses(critic, self.losses)
            self.players.append(Player("critic", network, options.learning_rate, averaged=False))

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device

    def batch(self, step: int, process: int, micro: int) -> Batch:
        index = (step * 1024 + process) * 64 + micro
        crops = self.photographs.at(index)
        return {"image": unit(crops), "seed": self.options.seed * 1_000_003 + index}

    def _pairs(self, limit: int) -> list[tuple[Tensor, Tensor]]:
        paths = find_images([path_from(p) for p in self.options.validation])[:limit]
        pairs = []
        for path in paths:
            image = as_tensor(load_image(path).pixels, self.device)
            height, width = (side // CELL * CELL for side in image.shape[1:])
            image = image[:, :height, :width]
            latent = self.vae.encode(image[None] * 2 - 1).latent_dist.mode()
            pairs.append((image, (self.vae.decode(latent).sample[0] * 0.5 + 0.5).clamp(0, 1)))
        return pairs

    def validate(self) -> dict[str, float]:
        if not self.options.validation:
            return {}
        pairs = self._pairs(1000)
        distances = [float(self.losses.lpips(b[None], a[None])) for a, b in pairs]
        return {
            "psnr": float(np.mean([capped(psnr(b, a)) for a, b in pairs])),
            "lpips_vgg": float(np.mean(distances)),
        }

    def picture(self, path: Path) -> None:
        if self.options.validation:
            write_picture([list(pair) for pair in self._pairs(6)], path)

    def scaling_factor(self) -> float:
        """1 / standard deviation of the latents of some training crops, as in latent diffusion."""
        deviations = []
        for index in range(max(1, LATENT_SAMPLES // self.options.batch)):
            image = self.batch(1 << 40, 0, index)["image"].to(self.device)
            deviations.append(self.vae.encode(image * 2 - 1).latent_dist.mode().flatten())
        return float(1 / torch.cat(deviations).std())


def train_autoencoder(
    options: AutoencoderTraining,
    out: Path,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
) -> Path:
    """Train and write ``out/vae``. Continues where ``out/training`` was left.

    Raises ``SettingsError``, ``ModelError`` and, after a ``stop``, ``KeyboardInterrupt``.
    """
    clock = clock or Clock()
    check_looped(options)
    if options.lpips and options.crop < SMALLEST:
        raise SettingsError(f"--crop {options.crop}: LPIPS needs 48 px or more.")
    if not options.init:
        check_groups(options)
    stage = AutoencoderStage(options)
    loop = Loop(stage, options, out / "training", report, stop, clock)
    progress = loop.run()
    table = loop.last_look()
    if loop.accelerator.is_main_process:
        with averaged(stage.players), torch.no_grad():
            factor = stage.scaling_factor()
            stage.vae.register_to_config(scaling_factor=factor)
            save_half(stage.vae, out / "vae")
        write_record(out, stage.name, options, progress.record(), table)
    return out / "vae"
