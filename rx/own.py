"""A receiver that a plugin adds: a function of previews and their channel states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rx.memory import is_out_of_memory
from rx.one_pass import Output
from rx.restoration import restored
from rx.seconds import SECONDS, timed
from simulator.errors import SettingsError
from simulator.jscc.csi import Csi
from simulator.own_receivers import find_receiver


class OwnReceiver:
    """x^ -> refine(x^, CSI), see ``simulator.own_receivers.Receiver``.

    Sides of the image are padded to multiples of four. Raises ``SettingsError`` where the function
    fails, or gives an image of another size or of values that are not finite.
    """

    sampled = False
    captioner = None
    config: Mapping[str, Any] = {}

    def __init__(self, name: str, device: str) -> None:
        self.name, self.device = name, torch.device(device)
        made = find_receiver(name).make
        self._refine = self._said(made, device)

    @torch.no_grad()
    def __call__(
        self, image: Tensor, csi: Csi, *, tile: int | None = None, fidelity: float = 0.0
    ) -> Output:
        """As ``RestorePipeline``."""
        seconds = dict.fromkeys(SECONDS, 0.0)
        with timed(seconds, "restore_s", self.device):
            pixels = image.to(self.device)
            made = restored(self._checked, pixels, csi.to(self.device), tile, fidelity)
        return Output(made, [""] * len(image), seconds)

    def _checked(self, preview: Tensor, csi: Csi) -> Tensor:
        made = self._said(self._refine, preview, csi)
        if not isinstance(made, Tensor) or made.shape != preview.shape:
            found = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
            raise SettingsError(
                f"receiver {self.name!r} of a plugin gives {found} for a preview of shape "
                f"{tuple(preview.shape)}; it must give a tensor of that shape."
            )
        if not made.isfinite().all():
            raise SettingsError(f"receiver {self.name!r} of a plugin gives values not finite.")
        return made

    def _said(self, function: Any, *given: Any) -> Any:
        try:
            return function(*given)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            reason = f"{type(error).__name__}: {error}".rstrip(".")
            raise SettingsError(f"receiver {self.name!r} of a plugin fails: {reason}.") from error
