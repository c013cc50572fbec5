"""``feedback``: a codec whose symbols are sent in R rounds; each corrects what was received.

    round 0   s = encode(image)                       round r   the error of the receiver's estimate

The networks are those of a codec that knows nothing of it: after R rounds its symbols have come as
over a channel of the SNR (1 + snr)^R - 1, which is what it is given (``simulator.phy.feedback``).
DeepJSCC-f [12] and the transformer with feedback [13] learn what to send instead; this is the bound
that linear feedback gives, without a training.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import Tensor

from simulator.errors import ModelError, SettingsError
from simulator.jscc.codec import JsccCodec, variance_of
from simulator.jscc.csi import Csi
from simulator.jscc.rates import Layout
from simulator.jscc.signal import Round
from simulator.jscc.wrapped import WrappedCodec
from simulator.phy.feedback import MAX_SNR_DB, correction, snr_after, unbiased
from simulator.phy.power import normalize_power

MAX_ROUNDS = 4


class FeedbackCodec(WrappedCodec):
    """Its bandwidth ratios are R times those of the codec inside."""

    name: ClassVar[str] = "feedback"

    def __init__(self, codec: JsccCodec, rounds: int = 2) -> None:
        super().__init__(codec)
        if not 2 <= rounds <= MAX_ROUNDS:
            raise ModelError(f"feedback: {rounds} rounds; give 2 to {MAX_ROUNDS}.")
        self.rounds = rounds
        self.bandwidth_ratio = rounds * self.codec.bandwidth_ratio
        self.bandwidth_ratios = tuple(rounds * ratio for ratio in self.codec.bandwidth_ratios)

    @property
    def config(self) -> dict[str, Any]:
        return {**super().config, "rounds": self.rounds}

    def conditioned(self, csi: Csi) -> Csi:
        """The state that stands for all rounds together."""
        snr: Tensor = snr_after(variance_of(csi)[:, 0], self.rounds)
        snr_db = (10 * snr.log10()).clamp(max=MAX_SNR_DB)
        return self.codec.conditioned(Csi(snr_db, torch.ones_like(csi.gain)))

    def correction(self, image: Tensor, heard: Sequence[Round[Tensor]], csi: Csi) -> Tensor:
        received, v = [each.received for each in heard], heard[0].noise_variance
        wrong: Tensor = correction(heard[0].sent, received, variance_of(csi) if v is None else v)
        return normalize_power(wrong)

    def gathered(
        self, symbols: Tensor, csi: Csi, noise_variance: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """``symbols`` and ``noise_variance``: (B, R K), of all rounds in a row, which have the same
        gains."""
        if symbols.shape[1] % self.rounds:
            raise SettingsError(f"{symbols.shape[1]} symbols are not {self.rounds} equal rounds.")
        received = symbols.reshape(len(symbols), self.rounds, -1).unbind(dim=1)
        v = variance_of(csi)
        if noise_variance is not None:
            v = noise_variance.reshape(len(symbols), self.rounds, -1)[:, 0]
        estimate, left = unbiased(received, v)
        return estimate, left.expand(estimate.shape)

    def layout(self, ratio: Fraction, size: tuple[int, int]) -> Layout:
        return self.codec.layout(ratio / self.rounds, size)

    def layout_of_symbols(self, k: int, size: tuple[int, int]) -> Layout:
        return self.codec.layout_of_symbols(k, size)
