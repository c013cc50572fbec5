"""The decoder of an autoencoder of the latent space as a generator of images.

    latent of unit variance -scale-> [1x1 convolution] -> diffusers' decoder -> image, about 0 to 1

It is frozen: whatever is trained around it learns to speak its language. Its sizes are part of the
config of the codec that holds it, its weights part of that codec's.
"""

from __future__ import annotations

import json
from typing import Any, Self

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from simulator.errors import ModelError, missing_package
from simulator.models.folder import find_model
from simulator.textfile import read_text

PART, WEIGHTS = "vae", "diffusion_pytorch_model.safetensors"
SIZES = (
    "block_out_channels",
    "latent_channels",
    "layers_per_block",
    "mid_block_add_attention",
    "norm_num_groups",
    "scaling_factor",
    "shift_factor",
    "use_post_quant_conv",
)


class Generator(nn.Module):
    """``sizes``: those of an ``AutoencoderKL`` named in ``SIZES``, of which the decoder is made.

    Raises ``MissingPackageError`` without diffusers, ``ModelError`` for sizes that cannot be.
    """

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        try:
            from diffusers import AutoencoderKL
        except ImportError:
            raise missing_package("codec 'generative'", "diffusers", "rx") from None
        self.sizes = {name: sizes[name] for name in SIZES if name in sizes}
        try:
            stages = len(self.sizes["block_out_channels"])
            vae = AutoencoderKL(
                **self.sizes,
                down_block_types=["DownEncoderBlock2D"] * stages,
                up_block_types=["UpDecoderBlock2D"] * stages,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"no generator can be made of these sizes: {error}.") from None
        self.channels: int = vae.config.latent_channels
        self.n_downsample = stages - 1
        self.scale = float(vae.config.scaling_factor)
        self.shift = float(vae.config.shift_factor or 0)
        self.before: nn.Module = vae.post_quant_conv or nn.Identity()
        self.decoder: nn.Module = vae.decoder
        self.requires_grad_(False)

    @classmethod
    def of_model(cls, model: str) -> Self:
        """That of a model folder, a shipped name or a hub id. Raises ``ModelError``."""
        folder = find_model(model, PART) / PART
        try:
            made = cls(dict(json.loads(read_text(folder / "config.json"))))
            state = load_file(folder / WEIGHTS)
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(f"{model} has no {PART} that can be read ({error}).") from None
        own = {
            name.replace("post_quant_conv.", "before."): tensor.float()
            for name, tensor in state.items()
            if name.startswith(("decoder.", "post_quant_conv."))
        }
        try:
            made.load_state_dict(own)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"the {PART} of {model} has another layout ({reason}).") from None
        return made

    def forward(self, latent: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 3, h 2^D, w 2^D)."""
        image: Tensor = self.decoder(self.before(latent / self.scale + self.shift))
        return image / 2 + 0.5
