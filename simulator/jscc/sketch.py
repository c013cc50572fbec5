"""What ``sketch`` sends beside the symbols of an image: its text, and its thin edges. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.errors import ModelError, SettingsError
from simulator.images import Pixels, Size
from simulator.jscc.beside import Beside, problem_of, read_beside, write_beside
from simulator.jscc.edges import thin_edges
from simulator.jscc.range_coder import DamagedError
from simulator.link.constants import MAX_SIDE_BYTES

CELLS = (2, 4, 8)  # px, parts of the 8 px of a latent's cell
MAX_CELLS = 1 << 18  # of a sketch: what a receiver reads in about a second


@dataclass(frozen=True)
class Sketching:
    """``cell``: side in pixels of a cell of the sketch; ``share``: of the cells, the most that are
    edges; 0: no sketch, a text alone. Raises ``ModelError`` for values that cannot be."""

    cell: int = 8
    share: float = 0.1

    def __post_init__(self) -> None:
        if self.cell not in CELLS or not 0 <= self.share <= 0.5:
            raise ModelError(
                f"sketch: cell {self.cell} and share {self.share} cannot be; give a cell of "
                f"{', '.join(map(str, CELLS))} pixels and a share from 0 to 0.5."
            )

    def edges(self, pixels: Pixels) -> np.ndarray | None:
        """The sketch of (H, W, 3) uint8, (h, w) bool; None where there is to be none. Raises
        ``SettingsError`` for an image that is too large."""
        if self._shape((pixels.shape[0], pixels.shape[1])) is None:
            return None
        return thin_edges(pixels, self.cell, self.share)

    def side_of(self, pixels: Pixels, text: str) -> bytes:
        """The side information. Raises ``SettingsError`` for what cannot be sent."""
        text = " ".join(text.split())
        if problem := problem_of(text):
            raise SettingsError(f"the text of this image {problem}; give a caption.")
        return write_beside(Beside(text, self.edges(pixels)))

    def said_in(self, side: bytes, size: Size) -> Beside:
        """The inverse, for an image of ``size`` (H, W). Raises ``SettingsError`` before it computes
        what a frame of a few bytes only claims to be."""
        if len(side) > MAX_SIDE_BYTES:
            raise SettingsError(
                f"{len(side)} bytes of side information: sketch takes up to {MAX_SIDE_BYTES}."
            )
        try:
            return read_beside(side, self._shape(size))
        except DamagedError as error:
            raise SettingsError(
                f"the side information ({len(side)} bytes) cannot be read: {error}; it is "
                f"damaged, or not of this codec."
            ) from None

    def _shape(self, size: Size) -> Size | None:
        """Of the sketch of an image of ``size``."""
        if not self.share:
            return None
        height, width = (-(-side // self.cell) for side in size)
        if height * width > MAX_CELLS:
            raise SettingsError(
                f"a sketch of {size[1]}x{size[0]} pixels has {height * width} cells, more than "
                f"{MAX_CELLS}; send a smaller image, or wrap the codec with a larger cell."
            )
        return height, width
