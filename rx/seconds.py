"""The seconds of each step of a receiver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from simulator.link.clock import monotonic

SECONDS = ("restore_s", "caption_s", "text_s", "diffusion_s", "vae_s")


@contextmanager
def timed(seconds: dict[str, float], name: str, device: torch.device) -> Iterator[None]:
    """Add the seconds within to ``seconds[name]``; an accelerator has then done its work."""
    began = monotonic()
    yield
    if device.type != "cpu" and torch.accelerator.is_available():
        torch.accelerator.synchronize(device)
    seconds[name] += monotonic() - began
