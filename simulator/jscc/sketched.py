"""``sketch`` [40]: a codec that sends a text and a sketch of its image beside the symbols.

    image -codec-> symbols -channel-> preview --------------.
    image -thin edges-> sketch -.                            +-> control module, denoiser
    text -----------------------+- side information -> text, sketch

The decoder makes of the symbols what that of the codec inside makes. What comes beside them is for
the control module (``rx.conditions``), where the text takes the place of the receiver's caption.
Both are coded without loss (``beside``) and charged as all side information is.
"""

from __future__ import annotations

from typing import Any, ClassVar

from simulator.images import Pixels, Size
from simulator.jscc.beside import Beside
from simulator.jscc.codec import JsccCodec
from simulator.jscc.sketch import Sketching
from simulator.jscc.wrapped import WrappedCodec


class SketchCodec(WrappedCodec):
    """``cell``, ``share``: of ``Sketching``."""

    name: ClassVar[str] = "sketch"

    def __init__(self, codec: JsccCodec, cell: int = 8, share: float = 0.1) -> None:
        super().__init__(codec)
        self.sketching = Sketching(cell, share)

    @property
    def config(self) -> dict[str, Any]:
        own = {"cell": self.sketching.cell, "share": self.sketching.share}
        return {**super().config, **own}

    def side_of(self, pixels: Pixels, text: str) -> bytes:
        return self.sketching.side_of(pixels, text)

    def said_in(self, side: bytes, size: Size) -> Beside:
        return self.sketching.said_in(side, size)
