"""What OraNet learns from: crops that were sent once, their features and their PSNR.

    crop, ratio, SNR, gain -frozen codec-> maps -> features (F,)
                                        -> reconstruction -> PSNR in dB

Both ends know the gain, which is one for all symbols: a prediction cannot take into account what
the transmitter does not know of the channel. The samples are kept beside the checkpoints; those of
one index are the same whenever they are made.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from simulator.errors import ModelError
from simulator.jscc.chain import transmit
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.oranet import Features, detail_of
from simulator.phy.state import ChannelState
from simulator.tensors import quantised, unit
from simulator.training.clock import Clock
from simulator.training.codec_loss import draw_channel
from simulator.training.options import OraNetTraining
from simulator.training.photographs import Photographs
from simulator.training.stage import Batch
from simulator.training.state import read_tensors, write_tensors

GROUP = 4  # crops that are sent together, at one ratio
CEILING_DB = 50.0  # what is flat arrives without any error
SENT_PART = 0.9  # of --minutes
# Options that samples do not depend on.
APART = {
    "steps", "minutes", "samples", "batch", "accumulate", "learning_rate", "warmup", "decay",
    "clip_norm", "weight_decay", "ema", "checkpoint_minutes", "validate_minutes", "checked",
    "validation", "threads", "device",
}  # fmt: skip


@dataclass
class Samples:
    """``features``: groups of (B, F) float32; ``psnr``: of (B,) in dB; ``groups``: how many were
    sent, in ``wall_s``."""

    features: list[np.ndarray] = field(default_factory=list)
    psnr: list[np.ndarray] = field(default_factory=list)
    groups: int = 0
    wall_s: float = 0.0
    count: int = 0

    def add(self, features: np.ndarray, psnr: np.ndarray) -> None:
        self.features.append(features)
        self.psnr.append(psnr)
        self.groups += 1
        self.count += len(psnr)

    def all(self, limit: int = 0) -> tuple[Tensor, Tensor]:
        """(N, F) and (N,), of all or of the first ``limit``."""
        both = (torch.from_numpy(np.concatenate(each)) for each in (self.features, self.psnr))
        features, psnr = (each[: limit or None] for each in both)
        return features, psnr


@torch.inference_mode()
def send(codec: JsccCodec, seen: Features, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Features (B, F) and PSNR (B,) of ``batch``: ``pixels`` (B, 3, H, W) uint8, and ``ratio``,
    ``snr_db``, ``h`` and ``noise`` as ``draw_channel`` gives them."""
    pixels, ratio, snr_db, h = (batch[key] for key in ("pixels", "ratio", "snr_db", "h"))
    csi, image = Csi(snr_db, h), unit(pixels)
    maps = codec.maps(image, csi, ratio)
    made = transmit(codec, image, csi, csi, batch["noise"], ratio).float()
    error = (quantised(made) - image).square().mean(dim=(1, 2, 3))
    psnr = (-10 * error.clamp_min(1e-12).log10()).clamp_max(CEILING_DB)
    features = [
        seen.of(own, detail_of(each), state, ratio)
        for own, each, state in zip(
            maps.cpu().numpy(),
            pixels.permute(0, 2, 3, 1).cpu().numpy(),
            states_of(csi),
            strict=True,
        )
    ]
    return np.stack(features), psnr.cpu().numpy()


def states_of(csi: Csi) -> list[ChannelState]:
    gains = csi.h.cpu().numpy().astype(np.complex64)
    return [ChannelState(float(s), h[None]) for s, h in zip(csi.snr_db.cpu(), gains, strict=True)]


def group_of(
    photographs: Photographs, codec: JsccCodec, options: Any, index: int, device: torch.device
) -> Batch:
    """The crops and states of one index."""
    pixels: Tensor = photographs.at(index).to(device)
    batch = {"image": pixels, "seed": options.seed * 1_000_003 + index}
    return draw_channel(codec, batch, options) | {"pixels": pixels}


def read_samples(path: Path, described: dict[str, Any]) -> Samples:
    """Those that an interrupted training has kept; none where there is no file. Raises
    ``ModelError`` where they are of another training."""
    if not path.is_file():
        return Samples()
    record, tensors = read_tensors(path)
    if record.get("of") != described:
        raise ModelError(
            f"{path} holds samples of a training with other settings; give the same ones, or "
            f"another --out, or delete it to start anew."
        )
    features, psnr = tensors["features"].numpy(), tensors["psnr"].numpy()
    return Samples([features], [psnr], int(record["groups"]), float(record["wall_s"]), len(psnr))


def fill(
    path: Path,
    codec: JsccCodec,
    seen: Features,
    options: OraNetTraining,
    weights_sha256: str,
    device: torch.device,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Samples:
    """``options.samples`` of them, or as many as fit into their part of the time, from ``path``
    and kept there. Raises ``KeyboardInterrupt`` after a ``stop``."""
    described = {k: v for k, v in asdict(options).items() if k not in APART}
    described = {k: list(v) if isinstance(v, tuple) else v for k, v in described.items()}
    described["weights_sha256"] = weights_sha256
    samples = read_samples(path, described)
    photographs = Photographs.of(replace(options, batch=GROUP))
    clock, kept = Clock(), time.monotonic()

    def save() -> None:
        record = {"of": described, "groups": samples.groups, "wall_s": samples.wall_s}
        features, psnr = samples.all()
        write_tensors(path, {"features": features, "psnr": psnr}, record)

    half = torch.bfloat16 if options.precision == "bf16" else torch.float16
    while True:
        done = samples_done(samples, options)
        on_progress(samples.count, max(samples.count, round(samples.count / done)) if done else 1)
        if done >= 1:
            break
        batch = group_of(photographs, codec, options, samples.groups, device)
        with torch.autocast(device.type, half, enabled=options.precision != "no"):
            samples.add(*send(codec, seen, batch))
        samples.wall_s += clock.passed()[0]
        if stop():
            save()
            raise KeyboardInterrupt
        if time.monotonic() - kept > 60 * options.checkpoint_minutes:
            save()
            kept = time.monotonic()
    save()
    return samples


def samples_done(samples: Samples, options: OraNetTraining) -> float:
    """The part of the samples that has been made."""
    if options.samples:
        return samples.count / options.samples
    return samples.wall_s / (60 * options.minutes * SENT_PART)
