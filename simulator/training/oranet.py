"""The predictor of PSNR of a codec: ``diffjscc train oranet --help``.

    crops -frozen codec, over random states-> features, PSNR    (``oranet_samples``, once)
    features -OraNet-> PSNR                                     Huber loss, in dB

The codec stays as it is. What is written is ``oranet.npz`` beside its weights, and a section of its
card: the error on images that the training has never seen.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulator.errors import ModelError, SettingsError, path_from
from simulator.images import find_images, load_image
from simulator.jscc import load_codec
from simulator.jscc.chain import complex_normal
from simulator.jscc.codec import JsccCodec
from simulator.jscc.folder import (
    ENCODER,
    ENCODER_INT8,
    MANIFEST,
    ORANET,
    WEIGHTS,
    CodecFolder,
    read_codec_folder,
)
from simulator.jscc.oranet import (
    MIDDLE_DB,
    SCALE_DB,
    WIDTH,
    Features,
    OraNet,
    check_predictable,
)
from simulator.textfile import read_text
from simulator.training.card import command
from simulator.training.checks import check_options
from simulator.training.loop import Loop, make_accelerator
from simulator.training.options import OraNetTraining
from simulator.training.oranet_samples import SENT_PART, fill, send
from simulator.training.player import Player, averaged
from simulator.training.progress import Progress
from simulator.training.stage import Batch, Stage
from simulator.wholefile import write_whole

CARD = "README.md"
HEAD = "## Rate control"
CHECKED_DB = (1.0, 10.0)
HUBER_DB = 1.0  # errors beyond it count linearly: drawn pictures must not lead


class Network(nn.Module):
    """(B, F) -> PSNR in dB, (B,). Features are brought to mean 0 and deviation 1 inside."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", features.mean(dim=0))
        self.register_buffer("scale", features.std(dim=0, correction=0).clamp_min(1e-3))
        sizes = (features.shape[1], WIDTH, WIDTH, 1)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, features: Tensor) -> Tensor:
        x = (features - self.mean) / self.scale  # type: ignore[operator]
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        result: Tensor = MIDDLE_DB + SCALE_DB * self.layers[-1](x)[:, 0]
        return result

    def weights(self) -> dict[str, np.ndarray]:
        """Of ``OraNet``: the first layer takes features as they are."""
        held = {k: v.detach().cpu().double() for k, v in self.layers.state_dict().items()}
        mean, scale = (getattr(self, name).cpu().double() for name in ("mean", "scale"))
        held["0.weight"] = held["0.weight"] / scale
        held["0.bias"] = held["0.bias"] - held["0.weight"] @ mean
        return {name: value.float().numpy() for name, value in held.items()}


class OraNetLosses(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        # Half precision would cost tenths of a dB: it is for the codec alone.
        with torch.autocast(batch["features"].device.type, enabled=False):
            predicted = self.network(batch["features"])
            return {"huber": F.huber_loss(predicted, batch["psnr"], delta=HUBER_DB)}


class OraNetStage(Stage):
    name = "oranet"

    def __init__(
        self,
        options: OraNetTraining,
        codec: JsccCodec,
        seen: Features,
        features: Tensor,
        psnr: Tensor,
    ) -> None:
        self.options, self.codec, self.seen = options, codec, seen
        self.features, self.psnr = features, psnr
        torch.manual_seed(options.seed)
        self.network = Network(features)
        self.players = [Player("oranet", OraNetLosses(self.network), options.learning_rate)]

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device

    def batch(self, step: int, process: int, micro: int) -> Batch:
        rng = np.random.default_rng([self.options.seed, step, process, micro])
        index = torch.from_numpy(rng.integers(len(self.psnr), size=self.options.batch))
        return {"features": self.features[index], "psnr": self.psnr[index]}

    def validate(self) -> dict[str, float]:
        """Mean absolute error and bias in dB at each ratio, over ``checked`` whole images at 1 and
        10 dB (AWGN)."""
        paths = find_images([path_from(p) for p in self.options.validation])
        table: dict[str, float] = {}
        if not paths[: self.options.checked]:
            return table
        images = [load_image(path).pixels for path in paths[: self.options.checked]]
        table["images"] = len(images)
        for ratio in self.seen.ratios:
            errors = [self._error(*each) for each in product(images, [ratio], CHECKED_DB)]
            table[f"error@{ratio}"] = float(np.mean(np.abs(errors)))
            table[f"bias@{ratio}"] = float(np.mean(errors))
        return table

    def _error(self, pixels: np.ndarray, ratio: Fraction, snr_db: float) -> float:
        """In dB, of the prediction for one (H, W, 3) uint8 image on AWGN."""
        k = self.codec.k(ratio, (pixels.shape[0], pixels.shape[1]))
        generator = torch.Generator().manual_seed(self.options.seed)
        batch = {
            "pixels": torch.tensor(pixels, device=self.device).permute(2, 0, 1)[None],
            "ratio": ratio,
            "snr_db": torch.full((1,), snr_db, device=self.device),
            "h": torch.ones(1, dtype=torch.complex64, device=self.device),
            "noise": complex_normal((1, k), generator, self.device),
        }
        features, psnr = send(self.codec, self.seen, batch)
        return float(self.network(torch.from_numpy(features).to(self.device))) - float(psnr[0])

    def picture(self, path: Path) -> None:
        """None: a number has no picture."""


def train_oranet(
    options: OraNetTraining,
    out: Path,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    on_samples: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Train and write ``oranet.npz`` into the codec folder ``out``; where there is none yet, it
    becomes a copy of ``options.codec``. Continues where ``out/training`` was left.

    Raises ``SettingsError``, ``ModelError`` and, after a ``stop``, ``KeyboardInterrupt``.
    """
    folder = check_oranet(options, out)
    codec = load_codec(str(folder.path)).requires_grad_(False)
    seen = Features(tuple(sorted(codec.bandwidth_ratios)))
    if options.threads:
        torch.set_num_threads(options.threads)
    accelerator = make_accelerator(options)
    codec.to(accelerator.device, memory_format=torch.channels_last)
    kept = out / "training" / "oranet-samples.safetensors"
    kept.parent.mkdir(parents=True, exist_ok=True)
    make = partial(fill, kept, codec, seen, options, folder.weights_sha256, accelerator.device)
    with accelerator.main_process_first():  # the others then find what it has kept
        samples = make(on_samples, stop)
    stage = OraNetStage(options, codec, seen, *samples.all(options.samples))
    loop = Loop(stage, options, out / "training", report, stop)
    if loop.progress.step == 0 and not options.steps:  # of the same minutes
        loop.progress.wall_s = min(samples.wall_s, 60 * options.minutes * SENT_PART)
    progress = loop.run()
    table = loop.last_look()
    if loop.accelerator.is_main_process:
        copy_codec(folder, out)
        with averaged(stage.players):
            OraNet(seen, folder.weights_sha256, stage.network.weights()).save(out / ORANET)
        done = replace(options, steps=progress.step, samples=options.samples or samples.count)
        write_section(out / CARD, section(done, progress, table))
    return out / ORANET


def check_oranet(options: OraNetTraining, out: Path) -> CodecFolder:
    """The codec's folder. Raises ``SettingsError`` and ``ModelError``."""
    check_options(options)
    if not (options.samples or options.minutes):
        raise SettingsError("say how many crops to send: --samples N, or --minutes M for both.")
    folder = read_codec_folder(options.codec or str(out))
    check_predictable(folder)
    if (out / MANIFEST).is_file():
        there = read_codec_folder(str(out))
        if there.weights_sha256 != folder.weights_sha256:
            raise ModelError(
                f"{out} holds another codec than {options.codec}; give its own folder by --codec, "
                f"or another --out."
            )
    return folder


def copy_codec(folder: CodecFolder, out: Path) -> None:
    """The files of a codec folder, into one that has no codec."""
    if (out / MANIFEST).is_file():
        return
    assert folder.path is not None
    # The manifest last: with it, the folder is a codec.
    for name in (WEIGHTS, ENCODER, ENCODER_INT8, CARD, MANIFEST):
        if (folder.path / name).is_file():
            shutil.copy(folder.path / name, out / name)


def section(options: OraNetTraining, progress: Progress, table: dict[str, float]) -> str:
    """Of the card, in Markdown."""
    lines = [
        HEAD,
        "",
        f"`{ORANET}` predicts the PSNR of a preview from {options.samples} crops that were sent, "
        f"in {progress.step} steps of {options.batch} of them, seed {options.seed}.",
    ]
    if table:
        kept = ", ".join(Path(each).name for each in options.validation)
        lines += [
            "",
            f"Error in dB on the {table['images']} images of {kept}, at 1 and 10 dB (AWGN)",
            "",
            "| ratio | mean absolute error | bias |",
            "|---|---|---|",
        ]
        lines += [
            f"| {ratio} | {table[f'error@{ratio}']:.2f} | {table[f'bias@{ratio}']:+.2f} |"
            for ratio in (key.removeprefix("error@") for key in table if key.startswith("error@"))
        ]
    return "\n".join([*lines, "", "```", command("oranet", options, "OUT"), "```", ""])


def write_section(path: Path, text: str) -> None:
    """At the end of a card, in place of an earlier one."""
    before = read_text(path).partition(HEAD)[0].rstrip() if path.is_file() else ""
    write_whole(path, f"{before}\n\n{text}".lstrip())
