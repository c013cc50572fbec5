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
from simulator.jscc.checks import check_images, check_symbols
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.rates import Layout, parse_ratio
from simulator.jscc.signal import Round, Signal
from simulator.jscc.wrapped import WrappedCodec
from simulator.phy.feedback import MAX_SNR_DB, correction, effective_snr_db, unbiased
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

    def encode(
        self,
        image: Tensor,
        csi: Csi,
        bandwidth_ratio: Fraction | str | None = None,
        heard: Sequence[Round[Tensor]] = (),
    ) -> Signal[Tensor]:
        check_images(image, values=False)
        self.check_heard(heard)
        if not heard:
            ratio = self.bandwidth_ratio if bandwidth_ratio is None else bandwidth_ratio
            self.check_ratio(parse_ratio(ratio))
            return self.codec.encode(image, self.after_all(csi), parse_ratio(ratio) / self.rounds)
        received, v = [each.received for each in heard], heard[0].noise_variance
        if v is None:
            v = variance_of(csi)
        return Signal(normalize_power(correction(heard[0].sent, received, v)))

    def decode(
        self,
        symbols: Tensor,
        csi: Csi,
        size: tuple[int, int],
        noise_variance: Tensor | None = None,
        side: bytes = b"",
    ) -> Tensor:
        """``symbols``: (B, R K), of all rounds in a row."""
        check_symbols(symbols, values=False)
        if symbols.shape[1] % self.rounds:
            raise SettingsError(f"{symbols.shape[1]} symbols are not {self.rounds} equal rounds.")
        received = symbols.reshape(len(symbols), self.rounds, -1).unbind(dim=1)
        v = variance_of(csi)
        if noise_variance is not None:
            # The same gains in all rounds.
            v = noise_variance.reshape(len(symbols), self.rounds, -1)[:, 0]
        estimate, left = unbiased(received, v)
        noise = left.expand(estimate.shape)
        return self.codec.decode(estimate, self.after_all(csi), size, noise, side)

    def after_all(self, csi: Csi) -> Csi:
        """The state that stands for all rounds together."""
        snr_db = effective_snr_db(csi.snr_db, csi.gain.abs(), self.rounds, torch.log10)
        return Csi(snr_db.clamp(max=MAX_SNR_DB), torch.ones_like(csi.gain))

    def layout(self, ratio: Fraction, size: tuple[int, int]) -> Layout:
        return self.codec.layout(ratio / self.rounds, size)


def variance_of(csi: Csi) -> Tensor:
    """(B, 1): of the noise in each symbol behind zero forcing."""
    power = csi.gain.abs().square().clamp_min(1e-12)
    return (10 ** (-csi.snr_db / 10) / power)[:, None]
