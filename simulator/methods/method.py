"""What is compared: a way to bring an image through K channel uses.

    image, Point, Draw -> Method.send -> Sent

JSCC previews, refined images, digital systems and bounds all answer the same question under the
same gain and noise, so that their curves are paired.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.chain import Draw
from simulator.phy.reception import Equalizer
from simulator.settings import Runtime

#: channel, cbr, snr_db
Place = tuple[str, str, float | None]


@dataclass(frozen=True)
class Point:
    """An operating point. ``snr_db``: Es/N0 a complex symbol, averaged over fading; None: the
    channel's trace says it, by ``trace_index``, the place of the frame in a run."""

    channel: str  # awgn, rayleigh, rician, or a plugin's
    cbr: Fraction  # K / (3 H W), pilots not counted
    snr_db: float | None
    trace_index: int = 0

    @property
    def place(self) -> Place:
        """As rows have it."""
        return self.channel, str(self.cbr), self.snr_db


def short_path(value: Any) -> str:
    """As a legend has it: of a path the last two parts."""
    return "/".join(Path(str(value)).parts[-2:])


@dataclass(frozen=True)
class Sent:
    """``pixels``: (H, W, 3) uint8, of the size that was sent. ``outage``: nothing of the image
    arrived, and the pixels are what the method shows in that case. ``k``: channel uses taken,
    the pilots beside them not counted.
    ``side_uses``: what side information is charged; ``rounds``: that they were sent in.
    ``details``: JSON values for the row, such as the rate that was chosen."""

    pixels: NDArray[np.uint8]
    k: int
    outage: bool = False
    side_uses: int = 0
    rounds: int = 1
    details: dict[str, Any] = field(default_factory=dict)


class Method(ABC):
    """``name`` is its key in configurations and rows, ``label`` its name in a legend.

    ``also``: names of further results in ``several``, which are then not computed again.
    ``beside``: of a method that sends two images at once, how many places behind an image its
    partner is in the list, which goes round; ``Draw.partner`` then has it, but for a lone image.
    """

    name: str
    label: str
    also: tuple[str, ...] = ()
    beside: int = 0

    def codec_at(self, ratio: Fraction) -> Any:
        """The codec (a ``JsccCodec``) whose cost is the method's; None for a method that is more.
        Raises ``SettingsError`` at a ratio that it does not have."""
        return None

    @abstractmethod
    def send(self, image: NDArray[np.uint8], point: Point, draw: Draw) -> Sent:
        """Transmit one (H, W, 3) uint8 image, its symbols through ``draw.transmit``. Raises
        ``SettingsError`` at a point that the method was not made for."""

    def several(self, image: NDArray[np.uint8], point: Point, draw: Draw) -> dict[str, Sent]:
        """Results by name, where one transmission gives more than one (preview and refined)."""
        return {self.name: self.send(image, point, draw)}

    def together(
        self, image: NDArray[np.uint8], sendings: Sequence[tuple[Point, Draw]]
    ) -> list[dict[str, Sent]]:
        """``several`` at some points; overridden where a batch is faster."""
        return [self.several(image, point, draw) for point, draw in sendings]


@dataclass(frozen=True)
class Context:
    """What a sweep has for all its methods; a factory that names ``context`` is given it."""

    model: str = "compact"
    codec: str = ""  # empty: the model's
    device: str = "cpu"
    runtime: Runtime = "onnx"  # of the encoder
    equalizer: Equalizer = "zero-forcing"
