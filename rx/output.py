"""What the pipelines of diffusers give."""

# No postponed annotations here: diffusers reads the fields of an output.
from dataclasses import dataclass
from typing import Any

from diffusers.utils import BaseOutput


@dataclass
class DiffJSCCOutput(BaseOutput):
    """``images``: (B, 3, H, W) fp32 in [0, 1], or a list of PIL images. ``captions``: one each.

    ``seconds``: ``restore_s``, ``caption_s``, ``text_s``, ``diffusion_s``, ``vae_s`` of the whole
    batch; 0.0 for a step that was not made.
    """

    images: Any
    captions: list[str]
    seconds: dict[str, float]
