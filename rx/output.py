"""What every receiver's pipeline gives: images, seconds of each step, one sentence for an error."""

# No postponed annotations here: diffusers reads the fields of an output.
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import BaseOutput

from simulator.errors import ModelError
from simulator.link.clock import monotonic

SECONDS = ("restore_s", "caption_s", "text_s", "diffusion_s", "vae_s")


@dataclass
class DiffJSCCOutput(BaseOutput):
    """``images``: (B, 3, H, W) fp32 in [0, 1], or a list of PIL images. ``captions``: one each.

    ``seconds``: ``restore_s``, ``caption_s``, ``text_s``, ``diffusion_s``, ``vae_s`` of the whole
    batch; 0.0 for a step that was not made.
    """

    images: Any
    captions: list[str]
    seconds: dict[str, float]


@contextmanager
def one_sentence(name: str | Path) -> Iterator[None]:
    """What loading the model raises, as ``ModelError``."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")[:300] or type(error).__name__
        raise ModelError(f"model {name} cannot be loaded: {reason}.") from error


@contextmanager
def timed(seconds: dict[str, float], name: str, device: torch.device) -> Iterator[None]:
    """Add the seconds within to ``seconds[name]``; an accelerator has then done its work."""
    began = monotonic()
    yield
    if device.type != "cpu" and torch.accelerator.is_available():
        torch.accelerator.synchronize(device)
    seconds[name] += monotonic() - began
