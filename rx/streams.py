"""Images of a transmitter that follow one another: the last refined one, and the noise of all."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MOST = 64  # streams, of which the last image is kept


def stream_generator(stream: str) -> torch.Generator:
    """The sampler's draws of every image of a stream: noise that stays where it is does not
    flicker. On the processor, so that no device changes it."""
    import torch

    digest = hashlib.sha256(b"stream" + stream.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class Streams:
    """The last refined image of each stream, (1, 3, H, W) in [0, 1]."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, torch.Tensor] = OrderedDict()

    def find(self, stream: str, like: torch.Tensor) -> torch.Tensor | None:
        """Of the size of ``like``; None where there is none."""
        last = self._last.get(stream)
        return last if last is not None and last.shape == like.shape else None

    def keep(self, stream: str, image: torch.Tensor) -> None:
        if stream:
            self._last[stream] = image
            self._last.move_to_end(stream)
            if len(self._last) > MOST:
                self._last.popitem(last=False)
