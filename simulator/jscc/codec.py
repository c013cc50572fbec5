"""What a codec is: the interface that transmitter, receiver, training and evaluation use.

    image --pad--> transform --pack--> normalize_power --> symbols     (encode, eq. 5, 2)
    symbols --unpack--> inverse transform --crop--> image              (decode, eq. 5)

A codec of your own subclasses ``JsccCodec``, implements ``analyse`` and ``synthesise`` and
gets one line in ``simulator/jscc/registry.py``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulator.errors import ModelError, SettingsError
from simulator.images import Pixels, Size
from simulator.jscc.air import Air
from simulator.jscc.beside import Beside
from simulator.jscc.checks import check_csi, check_images, check_size, check_symbols
from simulator.jscc.csi import Csi
from simulator.jscc.folder import USE_TORCH
from simulator.jscc.rates import (
    N_DOWNSAMPLE,
    Layout,
    cells_of,
    layout_of,
    pack,
    parse_ratio,
    ratio_of,
)
from simulator.jscc.signal import Round, Signal
from simulator.phy.power import normalize_power


def pad_to(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Extend the right and bottom edge by repeating it, to ``size`` (H, W) pixels."""
    height, width = image.shape[-2:]
    if (height, width) == size:
        return image
    return F.pad(image, (0, size[1] - width, 0, size[0] - height), mode="replicate")


class JsccCodec(nn.Module):
    """An encoder and decoder pair trained together.

    ``bandwidth_ratio`` is the ratio that ``encode`` uses when none is given; the decoder
    finds the ratio from the number of symbols. ``config`` is what ``__init__`` needs again.
    """

    name: ClassVar[str]
    encoder_name: ClassVar[str] = "encoder"  # the sub-module that is the transmitter's half
    n_downsample: int = N_DOWNSAMPLE
    min_cells: int = 1  # sides of the smallest latent that the networks can take
    rounds: int = 1  # times that it sends; more than once where it uses feedback
    zero_forcing: ClassVar[bool] = False  # whether it takes symbols of that equaliser alone
    draws: ClassVar[bool] = False  # in ``trained_through``, what is not in ``air``
    partly: bool = False  # whether a step of a training leaves weights without a gradient
    learns_over: ClassVar[str] = ""  # the one channel that ``train codec`` takes; empty: any
    bandwidth_ratio: Fraction
    bandwidth_ratios: tuple[Fraction, ...]

    @classmethod
    def made_for(cls, ratio: Fraction | None, channel: str, **config: Any) -> Self:
        """A codec to be trained. ``ratio``: its one bandwidth ratio, None for that of ``config``;
        a codec of several ignores it. ``channel``: awgn, rayleigh or both; ``config``: of
        ``__init__``."""
        return cls(**config)

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Keyword arguments that build this codec again (JSON values only)."""

    @abstractmethod
    def analyse(self, image: Tensor, csi: Csi, channels: int) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, C_out, H/2^D, W/2^D), before power normalisation."""

    @abstractmethod
    def synthesise(self, latent: Tensor, csi: Csi, noise_variance: Tensor) -> Tensor:
        """(B, C_out, h, w) equalised -> (B, 3, h 2^D, w 2^D).

        ``noise_variance``: (B, C_out, h, w), of the complex symbol that each value is half of.
        """

    def onnx_graph(self) -> tuple[nn.Module, dict[str, list[int]]]:
        """What ``diffjscc export`` traces, and [start, stop] of its maps for each ratio.

        The module takes ``image`` (1, 3, H, W), ``snr_db`` (1,), ``h`` (1, 2) as real and
        imaginary part and ``ratio`` (1, R) one-hot in the order of the slices, and returns
        maps (1, C, h, w) before power normalisation. Raises ``ModelError`` unless overridden.
        """
        raise ModelError(f"codec {self.name!r} has no ONNX form; {USE_TORCH}.")

    def encode(
        self,
        image: Tensor,
        csi: Csi,
        bandwidth_ratio: Fraction | str | None = None,
        heard: Sequence[Round[Tensor]] = (),
    ) -> Signal[Tensor]:
        """E_c of equation (5) and the power constraint of equation (2).

        ``image``: (B, 3, H, W) in [0, 1], any size. ``heard``: the rounds before this one, for a
        codec that has several. Returns symbols (B, K) complex64, mean power 1 for each image.
        Raises ``SettingsError`` at a ratio this codec was not made for, and for images and states
        of another form.
        """
        check_images(image, values=not self.training)
        check_csi(csi, len(image), values=not self.training)
        if len(heard) >= self.rounds:
            raise SettingsError(
                f"codec {self.name!r} sends {self.rounds} times; it has no round {len(heard)}."
            )
        if heard:
            return Signal(self.correction(image, heard, csi))
        ratio = self.bandwidth_ratio if bandwidth_ratio is None else parse_ratio(bandwidth_ratio)
        self.check_ratio(ratio)
        return self.signal_of(image, csi, ratio)

    def signal_of(self, image: Tensor, csi: Csi, budget: Fraction) -> Signal[Tensor]:
        """What ``encode`` returns, of arguments that have been looked at."""
        return Signal(self.modulate(self.pack(self.sent_maps(image, csi, budget))))

    def sent_maps(self, image: Tensor, csi: Csi, budget: Fraction) -> Tensor:
        """``maps`` of the ratio that a batch is sent at: ``budget``, or a smaller one that the
        codec itself takes."""
        return self.maps(image, csi, budget)

    def maps(self, image: Tensor, csi: Csi, ratio: Fraction) -> Tensor:
        """(B, C_out, h, w) of a ratio that this codec has, before power normalisation."""
        layout = self.layout(ratio, (image.shape[-2], image.shape[-1]))
        cell = 2**self.n_downsample
        padded = pad_to(image, (layout.height * cell, layout.width * cell))
        return self.analyse(padded, self.conditioned(csi), layout.channels).float()

    def conditioned(self, csi: Csi) -> Csi:
        """The state that the networks are given."""
        return csi

    def pack(self, maps: Tensor) -> Tensor:
        """(B, C_out, h, w) real -> (B, K) complex."""
        return pack(maps)

    def unpack(self, symbols: Tensor, layout: Layout) -> Tensor:
        """The inverse of ``pack``."""
        grid = symbols.reshape(-1, layout.channels // 2, layout.height, layout.width)
        return torch.cat([grid.real, grid.imag], dim=1)

    def modulate(self, values: Tensor) -> Tensor:
        """Equation (2): (B, K) complex of any power -> mean power 1 for each image."""
        return normalize_power(values)

    def correction(self, image: Tensor, heard: Sequence[Round[Tensor]], csi: Csi) -> Tensor:
        """(B, K) symbols of a round after the first, for a codec that has ``rounds``."""
        raise NotImplementedError

    def through(self, image: Tensor, air: Air, bandwidth_ratio: Fraction | None = None) -> Tensor:
        """The reconstruction (B, 3, H, W) of ``image``, sent over ``air``. Differentiable.

        A codec with several rounds gets back what was received, without noise.
        """
        rounds, side = self.sent_over(image, air, bandwidth_ratio)
        variance = rounds[0].noise_variance
        received = torch.cat([each.received for each in rounds], dim=1)
        if variance is not None:
            variance = variance.repeat(1, self.rounds)
        size = (image.shape[-2], image.shape[-1])
        return self.decode(received, air.decoder, size, variance, side)

    def sent_over(
        self, image: Tensor, air: Air, bandwidth_ratio: Fraction | None = None
    ) -> tuple[list[Round[Tensor]], bytes]:
        """All rounds of ``image`` as they are sent and received, and its side information."""
        rounds: list[Round[Tensor]] = []
        csi, side = air.encoder, b""
        for number in range(self.rounds):
            signal = self.encode(image, csi, bandwidth_ratio, rounds)
            if not rounds:
                csi, side = air.decoder, signal.side  # with what comes back, tx learns the gains
            rounds.append(air.send(signal.symbols, number))
        return rounds, side

    @property
    def logarithmic(self) -> bool:
        """Whether training takes the log of each crop's squared error, as for states and ratios
        that differ much; not for a codec that pays for its rate by the error itself."""
        return len(self.bandwidth_ratios) > 1

    @property
    def trained_ratios(self) -> tuple[Fraction, ...]:
        """The ratios that a training draws from, unless its options name others."""
        return self.bandwidth_ratios

    def trained_through(
        self, image: Tensor, air: Air, bandwidth_ratio: Fraction
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``through`` as a training does it, and what it adds to the distortion, by name.

        A codec that decides how much it sends has a way of its own here, because that decision has
        to be differentiable, and a term for what it costs.
        """
        return self.through(image, air, bandwidth_ratio), {}

    def gathered(
        self, symbols: Tensor, csi: Csi, noise_variance: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What all rounds say together: (B, K) symbols, as of one round, and the variance of the
        noise in each."""
        if noise_variance is None:
            noise_variance = variance_of(csi).expand(symbols.shape)
        return symbols, noise_variance

    def decode(
        self,
        symbols: Tensor,
        csi: Csi,
        size: tuple[int, int],
        noise_variance: Tensor | None = None,
        side: bytes = b"",
    ) -> Tensor:
        """D_c of equation (5): equalised (B, K) -> (B, 3, H, W) in [0, 1], ``size`` (H, W).

        ``noise_variance``: (B, K), of each equalised complex symbol. None: that of zero forcing
        under one gain, sigma^2 / abs(h)^2. ``side``: as ``encode`` gave it. Raises
        ``SettingsError`` for symbols that do not fit an image of this size.
        """
        check_symbols(symbols, values=not self.training)
        check_csi(csi, len(symbols), values=not self.training)
        check_size(size)
        if noise_variance is not None and noise_variance.shape != symbols.shape:
            raise SettingsError(
                f"noise_variance of shape {tuple(noise_variance.shape)} for symbols of shape "
                f"{tuple(symbols.shape)}: give one value for each symbol."
            )
        symbols, noise_variance = self.gathered(symbols, csi, noise_variance)
        symbols, csi, noise_variance = self.improved(symbols, csi, noise_variance)
        image = self.image_of(symbols, csi, noise_variance, size, side)
        return image[..., : size[0], : size[1]].clamp(0, 1)

    def improved(
        self, symbols: Tensor, csi: Csi, noise_variance: Tensor
    ) -> tuple[Tensor, Csi, Tensor]:
        """What a network behind the equaliser makes of (B, K) symbols, the state and the variances;
        here there is none."""
        return symbols, csi, noise_variance

    def image_of(
        self,
        symbols: Tensor,
        csi: Csi,
        noise_variance: Tensor,
        size: tuple[int, int],
        side: bytes,
    ) -> Tensor:
        """(B, K) symbols of one round and the variance of the noise in each -> (B, 3, >= H, >= W),
        about 0 to 1."""
        layout = self.layout_of_symbols(symbols.shape[-1], size)
        both = torch.complex(noise_variance.float(), noise_variance.float())
        latent, noise = self.unpack(symbols, layout), self.unpack(both, layout)
        return self.synthesise(self.restored(latent, side), self.conditioned(csi), noise)

    def restored(self, latent: Tensor, side: bytes) -> Tensor:
        """What side information makes of (B, C_out, h, w) as received; here it says nothing."""
        return latent

    def side_of(self, pixels: Pixels, text: str) -> bytes:
        """What is sent beside the symbols of an image that says something of the image itself:
        nothing, unless overridden. Raises ``SettingsError`` for what cannot be sent."""
        return b""

    def said_in(self, side: bytes, size: Size) -> Beside:
        """The inverse of ``side_of``. Raises ``SettingsError`` for damaged bytes."""
        return Beside()

    def k(self, ratio: Fraction, size: tuple[int, int]) -> int:
        """Symbols of an image of ``size`` (H, W) pixels, of all rounds."""
        return self.rounds * self.layout(ratio, size).k

    def layout(self, ratio: Fraction, size: tuple[int, int]) -> Layout:
        """Of the symbols of one round."""
        return layout_of(ratio, size, self.n_downsample, self.min_cells)

    def layout_of_symbols(self, k: int, size: tuple[int, int]) -> Layout:
        """The layout that K symbols of an image of ``size`` have."""
        height, width = cells_of(size, self.n_downsample, self.min_cells)
        half, rest = divmod(k, height * width)
        ratio = ratio_of(2 * half, self.n_downsample)
        if rest or ratio not in self.bandwidth_ratios:
            raise SettingsError(
                f"{k} symbols do not fit a {size[1]}x{size[0]} image at any bandwidth ratio of "
                f"codec {self.name!r} ({', '.join(map(str, self.bandwidth_ratios))})."
            )
        return Layout(2 * half, height, width)

    def check_ratio(self, ratio: Fraction) -> None:
        if ratio not in self.bandwidth_ratios:
            raise SettingsError(
                f"codec {self.name!r} has no bandwidth ratio {ratio}; it has "
                f"{', '.join(map(str, self.bandwidth_ratios))}."
            )


def variance_of(csi: Csi) -> Tensor:
    """(B, 1): of the noise in each symbol behind zero forcing under one gain."""
    power = csi.gain.abs().square().clamp_min(1e-12)
    return (10 ** (-csi.snr_db / 10) / power)[:, None]
