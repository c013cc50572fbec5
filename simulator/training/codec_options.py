"""What a training of a codec depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CodecTraining:
    """Everything a training run depends on; saved with the weights."""

    codec: str = "adaptive"
    init: str = ""  # a codec folder to start from instead of from scratch
    bandwidth_ratio: str = "1/384"  # for codecs with one ratio
    channel: Literal["awgn", "rayleigh", "both"] = "both"
    data: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    steps: int = 0
    minutes: float = 0.0
    batch: int = 8
    crop: int = 192
    learning_rate: float = 1e-3
    snr_db: tuple[float, float] = (-5.0, 20.0)
    adversarial: float = 0.0  # alpha of DeepJSCC-adv; 0: without
    lpips: float = 0.0  # weight of LPIPS; 0: without
    freeze: Literal["none", "encoder"] = "none"
    seed: int = 0
    device: str = "cpu"
    threads: int = 0
    checkpoint_minutes: float = 5.0
    validate_minutes: float = 15.0
