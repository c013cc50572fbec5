"""Codecs of the literature, each in a size that a test can afford."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from simulator.jscc.codec import JsccCodec
from simulator.jscc.registry import make_codec


@dataclass(frozen=True)
class System:
    """A codec, a configuration that is quick, and how a training is asked for it."""

    name: str
    config: dict[str, Any]
    ratios: tuple[str, ...]
    onnx: bool = True
    parameters: int = 0  # of the paper's sizes

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(f"{key}={value}" for key, value in self.config.items())

    def make(self, seed: int = 0) -> JsccCodec:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return make_codec(self.name, self.config).eval()


WITT = {"widths": [8, 8, 16, 16], "depths": [1, 1, 2, 1], "heads": [1, 1, 2, 2], "window": 4}
NTSCC = WITT | {"rates": [0, 8, 32, 64], "jscc_depth": 1, "hyper": 8, "price": 4.0}
SYSTEMS = [
    System("deepjscc", {}, ("1/48",)),
    System("adjscc", {"width": 8, "c_channel": 4}, ("1/24",)),
    System("witt", WITT, ("1/48",), onnx=False),
    System("mamba", {"widths": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "states": 2}, ("1/48",),
           onnx=False),
    System("deepjscc-l", {"layers": 3}, ("1/48", "1/24", "1/16"), onnx=False),
    System("padc", {"maps": 8, "steps": 2, "width": 8, "blocks": 1}, ("1/24", "1/12")),
    System("deepjscc-f", {"width": 8}, ("1/24",), onnx=False),
    System("feedback-vit", {"width": 16, "layers": 2, "heads": 2, "window": 4}, ("1/24",),
           onnx=False),
    System("policy", {"groups": 4, "always": 2, "width": 16, "blocks": 1},
           ("1/24", "1/16", "1/12"), onnx=False),
    System("ntscc", NTSCC, ("1/192", "1/48", "1/24"), onnx=False),
    System("generative", {"width": 8, "blocks": 0}, ("1/48",)),
]  # fmt: skip


def system(name: str) -> System:
    return next(each for each in SYSTEMS if each.name == name)
