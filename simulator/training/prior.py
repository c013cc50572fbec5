"""The prior: text-conditioned latent diffusion. ``diffjscc train prior --help``.

    caption -tokenizer-> text encoder -> f_t --+
    z_0 + noise at a random time ----------- UNet -> noise (or velocity)

A model folder without UNet gets a small one, with its own tokenizer and text encoder, all
trained together; one that has them goes on training the UNet alone unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from rx.captioner import load_captioner
from rx.sampler import make_scheduler, prediction_of, to_sample
from simulator.errors import SettingsError, path_from
from simulator.training.checks import check_groups, check_looped
from simulator.training.clock import Clock
from simulator.training.diffusion import denoising_loss, draw_times, noised, target_of
from simulator.training.filling import fill
from simulator.training.latents import CELL, LatentCache, crop_of, pixels_of
from simulator.training.loop import Loop
from simulator.training.model_card import write_record
from simulator.training.model_folder import (
    load_scheduler,
    load_text,
    load_unet,
    load_vae,
    save_half,
    start_of,
)
from simulator.training.options import PriorTraining
from simulator.training.pictures import write_picture
from simulator.training.player import Player, averaged
from simulator.training.progress import Progress
from simulator.training.stage import Batch, Stage
from simulator.training.texts import CONTEXT, captions_of, tokens_of, train_tokenizer

SHOWN = ("a dog on the beach", "mountains, lake", "a red car", "people in a street", "flowers", "")
CHECK_TIMES = (50, 250, 500, 750, 950)


class PriorLosses(nn.Module):
    """Denoising loss of a batch; the text encoder is trained where it is not frozen."""

    def __init__(
        self, unet: UNet2DConditionModel, text: CLIPTextModel, scheduler: DDPMScheduler
    ) -> None:
        super().__init__()
        self.unet, self.text, self.scheduler = unet, text, scheduler

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        z0, noise, times = batch["z0"], batch["noise"], batch["times"]
        features = self.text(batch["tokens"]).last_hidden_state
        z_t = noised(self.scheduler, z0, noise, times)
        predicted = self.unet(z_t, times, features).sample
        return {"noise": denoising_loss(predicted, target_of(self.scheduler, z0, noise, times))}


def build_unet(options: PriorTraining, latent_channels: int) -> UNet2DConditionModel:
    """A small UNet with the classes of Stable Diffusion; weights from the seed."""
    torch.manual_seed(options.seed)
    down = ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in options.attention]
    up = ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(options.attention)]
    return UNet2DConditionModel(
        sample_size=options.crop // CELL,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=options.channels,
        down_block_types=down,
        up_block_types=up,
        layers_per_block=options.layers,
        norm_num_groups=options.norm_groups,
        attention_head_dim=[max(1, width // options.head_width) for width in options.channels],
        cross_attention_dim=options.text_width,
        use_linear_projection=True,
    )


def build_text_encoder(options: PriorTraining, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    torch.manual_seed(options.seed + 1)
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=options.text_width,
            intermediate_size=2 * options.text_width,
            num_hidden_layers=options.text_layers,
            num_attention_heads=max(1, options.text_width // options.head_width),
            max_position_embeddings=CONTEXT,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_scheduler(options: PriorTraining) -> DDPMScheduler:
    """The defaults are the schedule of latent diffusion, posterior variance small."""
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.0120,
        beta_schedule=options.schedule,
        rescale_betas_zero_snr=options.zero_snr,
        variance_type="fixed_small",
        clip_sample=False,
        prediction_type=options.prediction,
    )


class PriorStage(Stage):
    name = "prior"

    def __init__(self, options: PriorTraining, out: Path) -> None:
        self.options = options
        source = start_of(options.model, out, "vae")
        self.vae = load_vae(source).requires_grad_(False).eval()
        self.cache = LatentCache(
            Path(options.cache) if options.cache else out / "training" / "latents",
            [path_from(p) for p in options.data],
            self.vae,
            load_captioner(options.captioner),
            options.seed,
            options.variants,
        )
        self.people = captions_of(self.cache.paths, [path_from(p) for p in options.data])
        self.source = source

    def build(self) -> None:
        """The networks; after the cache is filled, because the tokenizer needs the captions."""
        options = self.options
        if options.fresh:
            self.tokenizer = train_tokenizer(self._all_captions(), options.vocabulary)
            self.text = build_text_encoder(options, self.tokenizer)
            self.unet = build_unet(options, self.vae.config["latent_channels"])
            self.scheduler = build_scheduler(options)
        else:
            self.text, self.tokenizer = load_text(self.source)
            self.text.requires_grad_(False)
            self.unet = load_unet(self.source)
            self.scheduler = load_scheduler(self.source)
        self.losses = PriorLosses(self.unet, self.text, self.scheduler)
        self.players = [Player("prior", self.losses, options.learning_rate)]

    def _all_captions(self) -> Iterable[str]:
        for index in self.cache.used:
            yield self.cache.item(index, 0).caption
            yield from self.people[index]

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.vae.to(device)

    def caption(self, index: int, keywords: str, rng: np.random.Generator) -> str:
        """Keywords or what a person said; nothing at all for some."""
        options, spoken = self.options, self.people[index]
        drop, choose, which = rng.random(), rng.random(), rng.random()
        if drop < options.caption_dropout:
            return ""
        if not spoken or options.captions == "keywords":
            return keywords
        if options.captions == "both" and choose < 0.5:
            return keywords
        return spoken[int(which * len(spoken))]

    def batch(self, step: int, process: int, micro: int) -> Batch:
        options = self.options
        rng = np.random.default_rng([options.seed, step, process, micro])
        latents, captions = [], []
        for _ in range(options.batch):
            index = self.cache.used[int(rng.integers(len(self.cache.used)))]
            item = self.cache.item(index, int(rng.integers(options.variants)))
            clean, *_ = crop_of(item, options.crop // CELL, rng)
            assert clean is not None
            latents.append(clean)
            captions.append(self.caption(index, item.caption, rng))
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        z0 = torch.stack(latents)
        count = self.scheduler.config["num_train_timesteps"]
        return {
            "z0": z0,
            "noise": torch.randn(z0.shape, generator=generator),
            "times": draw_times(len(z0), count, options.times, generator),
            "tokens": tokens_of(self.tokenizer, captions),
        }

    def validate(self) -> dict[str, float]:
        """Mean denoising loss at fixed times, on validation images with empty captions."""
        if not self.options.validation:
            return {}
        from simulator.training.held_out import latents_of

        latents = latents_of(self.vae, self.options.validation, self.device)
        tokens = tokens_of(self.tokenizer, [""]).to(self.device)
        generator = torch.Generator().manual_seed(0)
        losses = []
        for z0 in latents:
            for time in CHECK_TIMES:
                noise = torch.randn(z0.shape, generator=generator).to(self.device)
                batch = {"z0": z0, "noise": noise, "tokens": tokens}
                batch["times"] = torch.tensor([time], device=self.device)
                losses.append(float(self.losses(batch, 0)["noise"]))
        return {"validation_loss": float(np.mean(losses))}

    def picture(self, path: Path) -> None:
        """What the prior makes of some captions, 25 DDIM steps, without guidance."""
        side = self.options.crop // CELL
        shape = (len(SHOWN), self.vae.config["latent_channels"], side, side)
        generator = torch.Generator().manual_seed(self.options.seed)
        z = torch.randn(shape, generator=generator).to(self.device)
        text = self.text(tokens_of(self.tokenizer, SHOWN).to(self.device)).last_hidden_state
        scheduler, times = make_scheduler("ddim", self.scheduler.config, 25)
        kind = prediction_of(self.scheduler.config)
        for time in times:
            predicted = self.unet(z, time, text).sample
            z0 = to_sample(predicted, z, scheduler.alphas_cumprod[time].to(z), kind)
            z = scheduler.step(z0, time, z).prev_sample
        images = pixels_of(self.vae, z)
        write_picture([list(images[:3]), list(images[3:])], path)


def train_prior(
    options: PriorTraining,
    out: Path,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    on_cache: Callable[[int, int], None] = lambda done, total: None,
    clock: Clock | None = None,
) -> Path:
    """Train and write ``unet``, ``text_encoder``, ``tokenizer`` and ``scheduler`` into ``out``.

    Raises ``SettingsError``, ``ModelError`` and, after a ``stop``, ``KeyboardInterrupt``.
    """
    clock = clock or Clock()
    check_looped(options)
    if len(options.channels) != len(options.attention):
        raise SettingsError("--channels and --attention: one value for each size of the UNet.")
    check_groups(options)
    if options.text_width % options.head_width:
        raise SettingsError(f"--text-width: give a multiple of {options.head_width}.")
    if options.zero_snr and options.prediction == "epsilon":
        raise SettingsError(
            "--zero-snr leaves pure noise at the last time, from which the noise tells nothing of "
            "the image: --prediction v_prediction or sample."
        )
    stage = PriorStage(options, out)
    fill(stage.cache, options, out / "training", stage.name, clock, on_cache, stop)
    stage.build()
    loop = Loop(stage, options, out / "training", report, stop, clock)
    progress = loop.run()
    table = loop.last_look()
    if loop.accelerator.is_main_process:
        with averaged(stage.players):
            save_half(stage.unet, out / "unet")
            save_half(stage.text, out / "text_encoder")
        stage.tokenizer.save_pretrained(out / "tokenizer")
        stage.scheduler.save_pretrained(out / "scheduler")
        write_record(out, stage.name, options, progress.record(), table, stage.cache.part())
    return out / "unet"
