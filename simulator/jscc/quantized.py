"""``deepjscc-q`` [44]: any codec behind square QAM, as digital radios send.

Each symbol goes to the nearest of M points: forward it is that point, backward the mean of all
points under a softmax of -hardness d^2, so that the codec can be trained through it. The paper
raises the hardness while it trains; here it is fixed, because trainings start from a codec that
has learnt. Its term for equal use of the points is left out: it has no effect in their release.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from simulator.errors import ModelError
from simulator.jscc.codec import JsccCodec
from simulator.jscc.wrapped import WrappedCodec
from simulator.phy.constellation import EXTENT, qam, quantize
from simulator.phy.power import normalize_power


class QuantizedCodec(WrappedCodec):
    """``points``: M; ``extent``: of the outermost levels, None for the one that suits M."""

    name: ClassVar[str] = "deepjscc-q"

    def __init__(
        self,
        codec: JsccCodec,
        points: int = 64,
        extent: float | None = None,
        hardness: float = 20.0,
    ) -> None:
        super().__init__(codec)
        if points not in EXTENT:
            sizes = ", ".join(map(str, EXTENT))
            raise ModelError(f"deepjscc-q: {points} points; give one of {sizes}.")
        self.points, self.hardness = points, hardness
        self.extent = EXTENT[points] if extent is None else extent
        constellation = torch.from_numpy(qam(points, self.extent))
        self.register_buffer("constellation", constellation, persistent=False)

    @property
    def config(self) -> dict[str, Any]:
        own = {"points": self.points, "extent": self.extent, "hardness": self.hardness}
        return {**super().config, **own}

    def modulate(self, values: Tensor) -> Tensor:
        """(B, K) complex of any power -> points of mean power 1 at most."""
        symbols = normalize_power(values)
        hard: Tensor = quantize(symbols.detach(), self.points, self.extent)
        if not (self.training and symbols.requires_grad):
            return hard
        points: Tensor = self.constellation  # type: ignore[assignment]
        near = (symbols[..., None] - points).abs().square().mul(-self.hardness).softmax(dim=-1)
        soft = (near * points).sum(dim=-1)
        return soft + (hard - soft).detach()
