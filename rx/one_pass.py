"""A receiver without diffusion: the restoration network of a model folder, and nothing else of it.

Neither diffusers nor the networks of the sampler are loaded; the images are those of the folder's
pipeline, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from rx.fit import NO_RESTORATION, check_weights, one_sentence
from rx.restoration import Restoration, restored
from rx.seconds import SECONDS, timed
from simulator.errors import SettingsError
from simulator.jscc.csi import Csi
from simulator.textfile import read_text

WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class Output:
    """As ``rx.output.DiffJSCCOutput``."""

    images: Tensor
    captions: list[str]
    seconds: dict[str, float]


class OnePass:
    """x^ -> R(x^, noise level). See ``rx.restoration``."""

    sampled = False
    captioner = None
    config: Mapping[str, Any] = {}

    def __init__(self, restoration: Restoration) -> None:
        self.restoration = restoration

    @classmethod
    def from_pretrained(cls, folder: Path, dtype: torch.dtype) -> OnePass:
        """Of a model folder with a ``restoration``. Raises ``ModelError`` with one sentence, and
        ``SettingsError`` where the folder has none."""
        part = folder / "restoration"
        if not part.is_dir():
            raise SettingsError(NO_RESTORATION)
        check_weights(folder, ("restoration",))
        with one_sentence(folder):
            config = json.loads(read_text(part / "config.json"))
            network = Restoration(**{k: v for k, v in config.items() if k[0] != "_"})
            network.load_state_dict(load_file(part / WEIGHTS), assign=True)
        return cls(network.in_precision(dtype).eval())

    def to(self, device: torch.device | str) -> OnePass:
        self.restoration.to(device)
        return self

    @torch.no_grad()
    def __call__(
        self, image: Tensor, csi: Csi, *, tile: int | None = None, fidelity: float = 0.0
    ) -> Output:
        """As ``RestorePipeline``."""
        device = next(self.restoration.parameters()).device
        pixels = image.to(device)
        seconds = dict.fromkeys(SECONDS, 0.0)
        with timed(seconds, "restore_s", device):
            made = restored(self.restoration, pixels, csi.to(device), tile, fidelity)
        return Output(made, [""] * len(image), seconds)
