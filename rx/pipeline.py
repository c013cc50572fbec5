"""The DiffJSCC receiver behind the JSCC decoder: equations (7) to (17) and Algorithm 1.

x^ -restoration, where the folder has one-> x^
x^ -captioner, text encoder-> f_t (8) -.
x^ -VAE encoder-> f_v (7) -------------+-> control module -> UNet -> sampler -> VAE decoder -> x
CSI -----------------------------------'        (one denoising step at a time)

Without diffusion (``diffusion = False``) the restored image is the result: the yardstick that
diffusion must beat.
"""

# No postponed annotations here: diffusers reads the types of the components from ``__init__``.
import math
from collections.abc import Callable, Collection, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.utils import deprecation_utils
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from transformers import CLIPTextModel

from rx.call import check_call, check_captions, check_warm, csi_for, generators_of
from rx.captioner import captions_for, load_captioner
from rx.color import wavelet_color_fix
from rx.conditions import CONDITIONS, Conditions
from rx.control import ControlModule
from rx.fit import NO_RESTORATION, WITH_WEIGHTS, check_fit, check_weights, one_sentence
from rx.output import DiffJSCCOutput
from rx.restoration import restored
from rx.restore import RestorationNetwork
from rx.reuse import Reuse, shallow, whole
from rx.sampler import (
    make_scheduler,
    prediction_of,
    repeats_for,
    sample,
    to_epsilon,
    to_sample,
    warmed,
)
from rx.seconds import SECONDS, timed
from rx.sketch import cell_of, check_sketch, hints_of
from rx.tiling import tile_cells, tiled
from simulator.errors import SettingsError
from simulator.jscc.checks import check_images
from simulator.jscc.codec import pad_to
from simulator.jscc.csi import Csi
from simulator.models.folder import read_model_index

OWN = "the folder's own"
# diffusers is renaming this option; a release that does not know the new name ignores it.
DTYPE = "dtype" if hasattr(deprecation_utils, "_resolve_dtype") else "torch_dtype"


class DiffJSCCPipeline(DiffusionPipeline):
    """Refines JSCC reconstructions with a diffusion prior under spatial, text and CSI conditions.

    ``steps``, ``solver``, ``color_fix`` and ``guidance...`` are the model folder's defaults for
    a call; ``guidance_repeat`` 0 is what ``repeats_for`` says. ``scheduler`` gives the noise
    schedule and the prediction type; the solver is chosen by name. ``diffusion`` False: a call
    ends with the restored image. Raises ``ModelError`` where components do not fit each other.
    """

    sampled = True  # it has a sampler, and the options of one
    whole, shallow = staticmethod(whole), staticmethod(shallow)  # of a step; they may be compiled
    # The control module stays on the device: it runs in turn with the UNet at every step.
    model_cpu_offload_seq = "restoration->text_encoder->unet->vae"
    _optional_components = ["captioner", "restoration"]  # noqa: RUF012 - diffusers' own form

    def __init__(
        self,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        control: ControlModule,
        text_encoder: CLIPTextModel,
        tokenizer: Any,
        scheduler: Any,
        captioner: Any = None,
        restoration: RestorationNetwork | None = None,
        diffusion: bool = True,
        steps: int = 50,
        solver: str = "ddpm",
        color_fix: str = "none",
        guidance: str = "official",
        guidance_scale: float = 0.0,
        guidance_repeat: int = 0,
    ) -> None:
        super().__init__()
        check_fit(vae.config, unet.config, control.config, text_encoder.config.to_dict())
        prediction_of(scheduler.config)
        self.register_modules(
            vae=vae,
            unet=unet,
            control=control,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=scheduler,
            captioner=captioner,
            restoration=restoration,
        )
        self.register_to_config(
            diffusion=diffusion,
            steps=steps,
            solver=solver,
            color_fix=color_fix,
            guidance=guidance,
            guidance_scale=guidance_scale,
            guidance_repeat=guidance_repeat,
        )
        self.vae_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.unet_multiple = 2 ** (len(unet.config.block_out_channels) - 1)

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> "DiffJSCCPipeline":
        """A pipeline from a shipped name (``compact``), a model folder or a hub id.

        ``options`` are diffusers' (``dtype`` or ``torch_dtype``, components ...);
        ``captioner=None`` leaves the folder's captioner where it is. Only safetensors are read.
        Without ``dtype`` all is fp32; under fp16 the VAE stays fp32, whose range it needs.
        Raises ``ModelError`` with one sentence.
        """
        folder, _ = read_model_index(str(name))
        check_weights(folder, WITH_WEIGHTS)
        captioner = options.pop("captioner", OWN)
        dtype = options.pop("dtype", None) or options.pop("torch_dtype", None)
        # Said for every component: of a folder in fp16, diffusers widens its own and transformers
        # would leave the text encoder as it is.
        wide_vae = {"vae": torch.float32, "default": dtype or torch.float32}
        options[DTYPE] = wide_vae if dtype in (None, torch.float16) else dtype
        with one_sentence(name):
            pipeline: DiffJSCCPipeline = super().from_pretrained(
                str(folder), captioner=None, use_safetensors=True, **options
            )
        if captioner is OWN:
            own = folder / "captioner"
            captioner = load_captioner(own, dtype=dtype) if own.is_dir() else None
        pipeline.register_modules(captioner=captioner)
        return pipeline

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """Write a model folder that ``from_pretrained`` reads, captioner included."""
        captioner = self.captioner
        # A captioner is no model class of diffusers: it is written by itself.
        self.register_modules(captioner=None)
        try:
            super().save_pretrained(str(save_directory), **options)
        finally:
            self.register_modules(captioner=captioner)
        if captioner is not None:
            captioner.save_pretrained(Path(save_directory) / "captioner")
            self.save_config(str(save_directory))

    def to(self, *args: Any, **kwargs: Any) -> "DiffJSCCPipeline":
        """As in diffusers; the captioner goes along."""
        super().to(*args, **kwargs)
        if self.captioner is not None:
            self.captioner.to(self.device)
        return self

    @property
    def sketch_cell(self) -> int:
        """Pixels of a cell of the sketch that the control module takes; 0: it takes none."""
        return cell_of(self.control.config["sketch_channels"], self.vae_factor)

    @torch.no_grad()
    def restore(
        self, image: Tensor, csi: Csi, tile: int | None = None, fidelity: float = 0.0
    ) -> Tensor:
        """R(x^, noise level): (B, 3, H, W) in [0, 1] -> the same; the others: see ``__call__``."""
        device = self._execution_device
        return restored(self.restoration, image.to(device), csi.to(device), tile, fidelity)

    @torch.no_grad()
    def spatial_features(self, image: Tensor, tile: int | None = None) -> Tensor:
        """f_v of equation (7): (B, 3, H, W) in [0, 1] -> (B, C_l, H/f, W/f) fp32.

        The mode of the VAE's posterior, scaled as the denoiser is used to. Sides are multiples
        of f; ``tile``: see ``__call__``.
        """
        check_images(image)
        config = self.vae.config
        pixels = (2 * image - 1).to(self._execution_device, self.vae.dtype)

        def encode(piece: Tensor, top: int, left: int) -> Tensor:
            mode: Tensor = self.vae.encode(piece).latent_dist.mode()
            return mode

        mode = tiled(encode, pixels, self._side(tile), (self.vae_factor, 1)).float()
        scaled: Tensor = (mode - (config.shift_factor or 0)) * config.scaling_factor
        return scaled

    @torch.no_grad()
    def decode(self, latents: Tensor, tile: int | None = None) -> Tensor:
        """D_ldm: (B, C_l, H_l, W_l) -> (B, 3, f H_l, f W_l) fp32 in [0, 1]."""
        return self._decode(latents, tile).clamp(0, 1)

    def _decode(self, latents: Tensor, tile: int | None) -> Tensor:
        """The same before it is clipped: colours are fixed on what the decoder says."""
        config = self.vae.config
        z = latents / config.scaling_factor + (config.shift_factor or 0)

        def decode(piece: Tensor, top: int, left: int) -> Tensor:
            pixels: Tensor = self.vae.decode(piece, return_dict=False)[0]
            return pixels

        grain = (1, self.vae_factor)
        image = tiled(decode, z.to(self.vae.dtype), self._side(tile), grain).float()
        return image / 2 + 0.5

    @torch.no_grad()
    def text_features(self, captions: Sequence[str]) -> Tensor:
        """f_t of equation (8), (B, T, d): the text encoder's last hidden state, padded to T."""
        check_captions(captions)
        longest = self.text_encoder.config.max_position_embeddings
        tokens = self.tokenizer(
            list(captions),
            padding="max_length",
            max_length=min(self.tokenizer.model_max_length, longest),
            truncation=True,
            return_tensors="pt",
        )
        ids = tokens.input_ids.to(self._execution_device)
        hidden: Tensor = self.text_encoder(ids).last_hidden_state
        return hidden

    @torch.no_grad()
    def predict_noise(
        self, latents: Tensor, timestep: int | Tensor, conditions: Conditions
    ) -> Tensor:
        """epsilon at z_t, (B, C_l, H_l, W_l) fp32, whatever the network predicts.

        ``timestep``: of training, one for all images or (B,).
        """
        z = latents.to(self._execution_device, torch.float32)
        scheduler, _ = make_scheduler("ddpm", self.scheduler.config, 1)
        output = self._output(z, timestep, conditions.to(z.device, self.unet.dtype))
        kind = prediction_of(self.scheduler.config)
        times = torch.as_tensor(timestep, device="cpu").expand(z.shape[0])
        alpha_bar = scheduler.alphas_cumprod[times].reshape(-1, 1, 1, 1).to(z.device)
        return to_epsilon(output, z, alpha_bar, kind)

    def _output(
        self,
        z: Tensor,
        timestep: int | Tensor,
        conditions: Conditions,
        side: int | None = None,
        step: int = 0,
        reuse: Reuse | None = None,
    ) -> Tensor:
        """What the controlled UNet says at z_t, in fp32; tiles of ``side`` cells are blended.

        ``step``: which of a sampling that keeps what it can in ``reuse``.
        """
        kept = reuse or Reuse()
        times = torch.as_tensor(timestep, device=z.device).expand(z.shape[0])

        def run(piece: Tensor, top: int, left: int) -> Tensor:
            x = piece.to(self.unet.dtype)
            c = conditions.crop(top, left, x.shape[-2], x.shape[-1])
            return kept.output(step, self.unet, self.control, x, times, c, (top, left)).float()

        return tiled(run, z, side)

    @torch.no_grad()
    def __call__(
        self,
        image: Tensor,
        csi: Csi,
        captions: Sequence[str | None] | None = None,
        *,
        sketch: Tensor | None = None,
        steps: int | None = None,
        solver: str | None = None,
        guidance_scale: float | None = None,
        guidance: str | None = None,
        guidance_repeat: int | None = None,
        color_fix: str | None = None,
        fidelity: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        conditions: Collection[str] = CONDITIONS,
        control_every: int = 1,
        deep_every: int = 1,
        diffusion: bool | None = None,
        tile: int | None = None,
        before: Tensor | None = None,
        warm_start: float = 0.0,
        callback_on_step_end: Callable[[int, int], None] | None = None,
        callback_on_estimate: Callable[[int, int, Tensor], None] | None = None,
        output_type: str = "pt",
    ) -> DiffJSCCOutput:
        """Refined images of the JSCC reconstructions ``image``, (B, 3, H, W) in [0, 1], any size.

        ``csi``: (B,) channel states. ``captions``: one an image; None asks the captioner, and
        without one they are empty. ``sketch``: (B, h, w) of cells of ``sketch_cell`` pixels, as of
        ``rx.sketch.as_sketch``. None elsewhere is the model folder's value. ``generator``:
        one an image, so that its draws do not depend on its batch; a single one serves all in
        turn. ``conditions``: which of spatial, snr, h and caption the denoiser sees; guidance
        keeps its target. ``control_every``, ``deep_every``: how many steps share what the control
        module, and the deep blocks of the UNet, have said (``rx.reuse``). ``diffusion`` False: the
        restored image is the result, without a caption. ``fidelity``: see ``rx.restoration``.
        ``tile``: side of overlapping tiles in pixels, for small memory. ``before``: refined images
        of the frames before, like ``image``, from which sampling goes on without the share
        ``warm_start`` of its steps.
        ``callback_on_step_end(step, n_steps)``; ``callback_on_estimate(step, n_steps, z0~)``, just
        before it, with latents for ``decode``. ``output_type``: ``pt`` or ``pil``. Raises
        ``SettingsError`` for a value that cannot be used.
        """
        own = self.config
        steps = own.steps if steps is None else steps
        rule = own.guidance if guidance is None else guidance
        scale = own.guidance_scale if guidance_scale is None else guidance_scale
        repeat = own.guidance_repeat if guidance_repeat is None else guidance_repeat
        fix = own.color_fix if color_fix is None else color_fix
        every = (control_every, deep_every)
        check_call(image, csi, captions, rule, scale, repeat, fix, conditions, output_type, every)
        check_warm(image, before, warm_start)
        size = (image.shape[-2], image.shape[-1])
        check_sketch(sketch, self.sketch_cell, len(image), size)
        reuse = Reuse(*every, self.whole, self.shallow)
        done = count()
        generators = generators_of(generator, len(image))
        scheduler, timesteps = make_scheduler(
            own.solver if solver is None else solver, self.scheduler.config, steps
        )
        repeat = repeat or repeats_for(steps)
        side = self._side(tile)
        device = self._execution_device
        image = image.to(device, torch.float32)
        seconds = dict.fromkeys(SECONDS, 0.0)
        diffusion = own.diffusion if diffusion is None else diffusion
        if self.restoration is not None:
            with timed(seconds, "restore_s", device):
                image = self.restore(image, csi, tile, fidelity)
        elif fidelity or not diffusion:
            raise SettingsError(NO_RESTORATION)
        if not diffusion:
            return self._output_of(image, [""] * len(image), seconds, output_type)

        with timed(seconds, "caption_s", device):
            wanted = captions if "caption" in conditions else [""] * len(image)
            told = captions_for(self.captioner, image, wanted, device, self.device)
        with timed(seconds, "text_s", device):
            text = self.text_features(told)
        with timed(seconds, "vae_s", device):
            target = self.spatial_features(pad_to(image, self._padded(size)), tile)
        spatial = target if "spatial" in conditions else torch.zeros_like(target)
        drawn = None
        if sketch is not None:
            drawn = hints_of(sketch, self.vae_factor // self.sketch_cell, target.shape[-2:])
        c = Conditions(spatial, text, csi_for(csi, conditions), drawn).to(device, self.unet.dtype)
        kind = prediction_of(self.scheduler.config)
        alphas_bar = scheduler.alphas_cumprod

        def predict(z: Tensor, t: int) -> Tensor:
            return to_sample(self._output(z, t, c, side, next(done), reuse), z, alphas_bar[t], kind)

        z = randn_tensor(target.shape, generators, device, torch.float32)
        if before is not None and warm_start:
            with timed(seconds, "vae_s", device):
                earlier = before.to(device, torch.float32)
                latents = self.spatial_features(pad_to(earlier, self._padded(size)), tile)
            z, timesteps = warmed(scheduler, timesteps, z, latents, warm_start)
        with timed(seconds, "diffusion_s", device):
            z = sample(
                predict,
                scheduler,
                timesteps,
                z,
                target,
                scale,
                rule,
                repeat,
                generators,
                callback_on_step_end,
                callback_on_estimate,
            )
        with timed(seconds, "vae_s", device):
            refined = self._decode(z, tile)[..., : size[0], : size[1]]
            if fix == "wavelet":
                refined = wavelet_color_fix(refined, image)
        return self._output_of(refined.clamp(0, 1), told, seconds, output_type)

    def _output_of(
        self, images: Tensor, captions: list[str], seconds: dict[str, float], output_type: str
    ) -> DiffJSCCOutput:
        self.maybe_free_model_hooks()
        if output_type == "pil":
            images = self.numpy_to_pil(images.permute(0, 2, 3, 1).cpu().numpy())
        return DiffJSCCOutput(images=images, captions=captions, seconds=seconds)

    def _padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """Size (H, W) in pixels that VAE and UNet can take."""
        whole = self.vae_factor * self.unet_multiple
        return (math.ceil(size[0] / whole) * whole, math.ceil(size[1] / whole) * whole)

    def _side(self, tile: int | None) -> int | None:
        """Latent cells of a tile of that many pixels."""
        return None if not tile else tile_cells(tile, self.vae_factor, self.unet_multiple)
