"""Everything that the training of a codec depends on; saved with the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simulator.training.loop import LoopOptions


@dataclass(frozen=True)
class CodecTraining(LoopOptions):
    """The paper: Adam 1e-3 with a cosine over 100,000 steps, batches of 32 crops of 256 px."""

    batch: int = 8
    crop: int = 192
    learning_rate: float = 1e-3
    codec: str = "adaptive"
    init: str = ""  # a codec folder to start from instead of from scratch
    start: Literal["linear", "random"] = "linear"  # of adaptive: with linear transforms or not
    bandwidth_ratio: str = "1/384"  # for codecs with one ratio
    channel: Literal["awgn", "rayleigh", "both"] = "both"
    snr_db: tuple[float, float] = (-5.0, 20.0)
    drawn: float = 0.06  # part of the crops that are drawn pictures
    zoom: float = 0.4  # part of the batches that are enlarged
    adversarial: float = 0.0  # alpha of DeepJSCC-adv; 0: without
    lpips: float = 0.0  # weight of LPIPS-VGG; 0: without
    freeze: Literal["none", "encoder"] = "none"
