"""What codecs have in common that send equal rounds and learn from what the receiver has had.

    round r   sent_after(image, maps of rounds 0 ... r - 1 as received) -pack-> power 1 -> symbols

Each round has ``c_channel`` maps and a power of its own. What is fed back are the received symbols,
equalised; the decoder gets the maps of all rounds, one behind the other.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Self

import torch
from torch import Tensor

from simulator.errors import ModelError, SettingsError
from simulator.jscc.codec import JsccCodec, pad_to
from simulator.jscc.csi import Csi
from simulator.jscc.one_ratio import received_snr
from simulator.jscc.rates import Layout, channels_of, ratio_of
from simulator.jscc.signal import Round

MAX_ROUNDS = 4


class RoundsCodec(JsccCodec):
    """``c_channel``: maps of one round; with 2 of them and two rounds its ratio is 1/24."""

    n_downsample = 2

    def __init__(self, c_channel: int, rounds: int) -> None:
        super().__init__()
        if c_channel < 2 or c_channel % 2 or not 2 <= rounds <= MAX_ROUNDS:
            raise ModelError(
                f"{self.name}: {rounds} rounds of {c_channel} maps; give 2 to {MAX_ROUNDS} rounds "
                f"of an even number of maps."
            )
        self.c_channel, self.rounds = c_channel, rounds
        self.bandwidth_ratio = rounds * ratio_of(c_channel, self.n_downsample)
        self.bandwidth_ratios = (self.bandwidth_ratio,)

    @classmethod
    def made_for(cls, ratio: Fraction | None, channel: str, **config: Any) -> Self:
        if ratio is not None:
            rounds = config.get("rounds", 2)
            config["c_channel"] = channels_of(ratio / rounds, cls.n_downsample)
        return cls(**config)

    @abstractmethod
    def sent_after(self, image: Tensor, heard: Sequence[Tensor], snr: Tensor) -> Tensor:
        """The maps (B, C, h, w) of a round, before power normalisation.

        ``image``: (B, 3, 4 h, 4 w); ``heard``: (B, C, h, w) of each round before, none for the
        first one; ``snr``: (B,) in tens of dB.
        """

    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        return self.sent_after(image, (), received_snr(csi))

    def correction(self, image: Tensor, heard: Sequence[Round[Tensor]], csi: Csi) -> Tensor:
        size = (image.shape[-2], image.shape[-1])
        layout, cell = self.layout(self.bandwidth_ratio, size), 2**self.n_downsample
        padded = pad_to(image, (layout.height * cell, layout.width * cell))
        maps = self.sent_after(padded, self.maps_received(heard, size), received_snr(csi))
        return self.modulate(self.pack(maps.float()))

    def maps_received(self, rounds: Sequence[Round[Tensor]], size: tuple[int, int]) -> list[Tensor]:
        """(B, C, h, w) of each round, of an image of ``size`` (H, W)."""
        layout = self.layout(self.bandwidth_ratio, size)
        return [super(RoundsCodec, self).unpack(each.received, layout) for each in rounds]

    def layout(self, ratio: Fraction, size: tuple[int, int]) -> Layout:
        return super().layout(ratio / self.rounds, size)

    def layout_of_symbols(self, k: int, size: tuple[int, int]) -> Layout:
        layout = self.layout(self.bandwidth_ratio, size)
        if k != self.rounds * layout.k:
            raise SettingsError(
                f"{k} symbols do not fit a {size[1]}x{size[0]} image: codec {self.name!r} sends "
                f"{self.rounds} times {layout.k}."
            )
        return layout

    def unpack(self, symbols: Tensor, layout: Layout) -> Tensor:
        """(B, R K) of all rounds in a row -> (B, R C, h, w)."""
        rounds = symbols.chunk(self.rounds, dim=1)
        return torch.cat([super(RoundsCodec, self).unpack(each, layout) for each in rounds], 1)
