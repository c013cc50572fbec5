"""What the training loop asks of a training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from simulator.training.player import Player

Batch = dict[str, Any]


class Stage(ABC):
    """What a training trains, on what, and what it writes."""

    name: str
    players: list[Player]
    partly: bool = False  # whether a step leaves weights without a gradient

    @abstractmethod
    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move what is frozen; called once, before the first step."""

    @abstractmethod
    def batch(self, step: int, process: int, micro: int) -> Batch:
        """CPU tensors, a pure function of its arguments; called ahead by threads."""

    def prepare(self, batch: Batch) -> Batch:
        """``batch``, on the device, with what is drawn there before the step computes."""
        return batch

    def compiled(self) -> list[nn.Module]:
        """The modules that ``torch.compile`` compiles, where the options ask for it."""
        return []

    def recorded(self, batch: Batch) -> Hashable | None:
        """Which steps launch the same kernels on the same shapes, and may be replayed as one CUDA
        graph: those of one key. They draw nothing, and ask the device nothing. None: no step."""
        return None

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Quality on images kept out of training, with the averaged weights."""

    @abstractmethod
    def picture(self, path: Path) -> None:
        """A picture of what the averaged weights do now."""
