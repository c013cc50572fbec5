"""What networks share that correct the symbols which signal processing gives: they start as
nothing, and a correction has the scale of the error that is expected."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from simulator.errors import ModelError
from simulator.jscc.codec import JsccCodec
from simulator.jscc.wrapped import WrappedCodec

MOST_VARIANCE = 100.0  # of the noise in a symbol that a correction is scaled to


def nothing(layer: nn.Conv1d | nn.Linear) -> nn.Module:
    """The last layer of a correction."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def parts(*values: Tensor) -> list[Tensor]:
    """Real and imaginary parts."""
    return [part for each in values for part in (each.real, each.imag)]


def in_rows(values: Tensor, n: int) -> Tensor:
    """(B, K) -> (B, T, n), zeros behind the last."""
    return F.pad(values, (0, -values.shape[1] % n)).reshape(len(values), -1, n)


def with_correction(symbols: Tensor, variance: Tensor, correction: Tensor) -> Tensor:
    """Unbiased ``symbols`` with noise of ``variance``, plus a ``correction``. It is in units of the
    error that their MMSE estimate has, 1 / (1 + variance) of what is returned."""
    v = variance.clamp_max(MOST_VARIANCE)
    return symbols + (v * (1 + v)).sqrt() * correction


class CorrectingCodec(WrappedCodec):
    """With networks of ``width`` between an equaliser, which is zero forcing, and the decoder."""

    zero_forcing: ClassVar[bool] = True

    def __init__(self, codec: JsccCodec, width: int) -> None:
        super().__init__(codec)
        if width < 1:
            raise ModelError(f"{self.name}: networks of width {width} cannot be.")
        self.width = width

    @property
    def config(self) -> dict[str, Any]:
        return {**super().config, "width": self.width}
