"""A receiver without diffusion: previews are restored in one pass."""

# No postponed annotations here: diffusers reads the types of the components from ``__init__``.
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from rx.fit import check_weights, one_sentence
from rx.output import DiffJSCCOutput
from rx.restoration import restored
from rx.restore import RestorationNetwork
from rx.seconds import SECONDS, timed
from simulator.errors import SettingsError
from simulator.jscc.csi import Csi
from simulator.models.folder import read_model_index


class RestorePipeline(DiffusionPipeline):
    """x^ -> R(x^, noise level), ``rx.restore.RestorationNetwork``.

    ``codec``: the shipped model whose codec made the previews that R was trained on; empty: the
    folder has a codec of its own, or is used with one that is named.
    """

    sampled = False
    captioner = None
    model_cpu_offload_seq = "restoration"

    def __init__(self, restoration: RestorationNetwork, codec: str = "") -> None:
        super().__init__()
        self.register_modules(restoration=restoration)
        self.register_to_config(codec=codec)

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> "RestorePipeline":
        """A pipeline from a shipped name, a model folder or a hub id; ``options`` are diffusers'.
        Raises ``ModelError`` with one sentence."""
        folder, _ = read_model_index(str(name))
        check_weights(folder, ("restoration",))
        with one_sentence(name):
            pipeline: RestorePipeline = super().from_pretrained(
                str(folder), use_safetensors=True, **options
            )
        return pipeline

    @torch.no_grad()
    def __call__(
        self,
        image: Tensor,
        csi: Csi,
        *,
        tile: int | None = None,
        fidelity: float = 0.0,
        output_type: str = "pt",
    ) -> DiffJSCCOutput:
        """Restored images of the JSCC reconstructions ``image``, (B, 3, H, W) in [0, 1], any size.

        ``csi``: (B,) channel states. ``tile``: side of overlapping tiles in pixels, for small
        memory. ``fidelity``: see ``rx.restoration.restored``. ``output_type``: ``pt`` or ``pil``.
        Raises ``SettingsError``.
        """
        if output_type not in ("pt", "pil"):
            raise SettingsError(f"there is no output_type {output_type!r}; use pt or pil.")
        seconds = dict.fromkeys(SECONDS, 0.0)
        device = self._execution_device
        with timed(seconds, "restore_s", device):
            pixels = image.to(device)
            made: Any = restored(self.restoration, pixels, csi.to(device), tile, fidelity)
        self.maybe_free_model_hooks()
        if output_type == "pil":
            made = self.numpy_to_pil(made.permute(0, 2, 3, 1).cpu().numpy())
        return DiffJSCCOutput(images=made, captions=[""] * len(image), seconds=seconds)
