"""The restoration of previews in one pass: ``diffjscc train restoration --help``.

    crops -codec, over random channels-> previews -restoration network-> images
    loss = L1 + w LPIPS-VGG [+ a critic's on VGG16's taps and pixels, balanced]

AlexNet (LPIPS) and EfficientNet-Lite0 (FD-EffNet, semantic repair) judge the result and have no
part in the loss. The network starts as a super-resolution network that a package carries
(``restoration_start.py``), as another folder's, or at random.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rx.restoration import SHRINK
from rx.restore import RestorationNetwork
from rx.restore_pipeline import RestorePipeline
from simulator.errors import ModelError, SettingsError
from simulator.jscc import load_codec
from simulator.jscc.codec import JsccCodec
from simulator.jscc.folder import resolve
from simulator.metrics.fidelity import psnr
from simulator.metrics.lpips import Features, LpipsVgg, load_lpips_vgg
from simulator.models.folder import INDEX, SHIPPED, codec_owner, read_index
from simulator.tensors import quantised, unit
from simulator.training.checks import check_options
from simulator.training.clock import Clock
from simulator.training.codec_loss import draw_channel, send_crops
from simulator.training.critic import Critic, balanced, critic_loss, fooled
from simulator.training.held_out import Received, received_of
from simulator.training.loop import Loop
from simulator.training.model_card import write_record
from simulator.training.model_folder import load_restoration, save_half
from simulator.training.options import X4PLUS, RestorationTraining
from simulator.training.phase import SMALLEST
from simulator.training.photographs import Photographs
from simulator.training.pictures import write_picture
from simulator.training.player import Player, averaged
from simulator.training.progress import Progress
from simulator.training.restoration_start import from_x4plus
from simulator.training.stage import Batch, Stage


class RestorationLosses(nn.Module):
    """The loss terms of a batch; keeps its last images and their taps for the critic."""

    def __init__(
        self, network: RestorationNetwork, codec: JsccCodec, vgg: LpipsVgg, options: Any
    ) -> None:
        super().__init__()
        self.network, self.options = network, options
        self._frozen = (codec, vgg)  # no sub-modules: placed by the stage
        self.judge: Callable[[Tensor, Features], list[Tensor]] | None = None
        self.last: tuple[Tensor, Features, Tensor, Features] | None = None

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        options, (codec, vgg) = self.options, self._frozen
        with torch.no_grad():
            preview, csi = send_crops(codec, batch)
            window = (..., *batch["window"])
            # A receiver hands 8-bit pixels on. The window is at any phase of the codec's cells,
            # and of VGG16's poolings.
            seen = quantised(preview)[window]
            real = batch["image"][window]
            real_taps = vgg.features(real)
        made = self.network(seen, csi)
        taps = vgg.features(made)
        l1 = (made - real).abs().mean()
        distance = options.lpips * vgg.compare(taps, real_taps).mean()
        terms = {"l1": l1, "lpips": distance}
        self.last = None
        if self.judge is not None and batch["done"] >= options.adversarial_start:
            term = fooled(self.judge(made, taps))
            terms["adversarial"] = balanced(options.adversarial, l1 + distance, term, made)
        if self.judge is not None:
            self.last = (made.detach(), [each.detach() for each in taps], real, real_taps)
        return terms


class RestorationCriticLosses(nn.Module):
    """Hinge loss on the images that were just made."""

    def __init__(self, critic: Critic, restoration: RestorationLosses) -> None:
        super().__init__()
        self.critic = critic
        self._restoration = [restoration]  # not a sub-module: it is trained elsewhere

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        last = self._restoration[0].last
        assert last is not None
        made, made_taps, real, real_taps = last
        return {"hinge": critic_loss(self.critic(real, real_taps), self.critic(made, made_taps))}


def build_network(options: RestorationTraining) -> RestorationNetwork:
    if options.init == X4PLUS:
        return from_x4plus()
    if options.init != "random":
        return shallower(load_restoration(options.init), options.blocks)
    torch.manual_seed(options.seed)
    fresh: RestorationNetwork = RestorationNetwork(
        options.width, options.growth, options.blocks, options.small
    )
    return fresh


def shallower(network: RestorationNetwork, blocks: int) -> RestorationNetwork:
    """The same network with at most ``blocks`` of its residual blocks: the first, the last and
    those evenly between them. The start of a quick network.

    Each block adds little to what it gets, so that those that stay still fit one another.
    """
    if blocks < len(network.body):
        kept = np.linspace(0, len(network.body) - 1, blocks).round().astype(int)
        network.body = nn.ModuleList(network.body[index] for index in kept)
        network.register_to_config(blocks=blocks)  # type: ignore[operator]
    return network


class RestorationStage(Stage):
    name = "restoration"

    def __init__(self, options: RestorationTraining, out: Path) -> None:
        self.options = options
        self.photographs = Photographs.of(options)
        self.codec = load_codec(resolve(options.codec or str(out))).requires_grad_(False).eval()
        self.vgg = load_lpips_vgg()
        self.network = build_network(options)
        for each in (self.network, self.codec, self.vgg):
            each.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.losses = RestorationLosses(self.network, self.codec, self.vgg, options)
        self.players = [Player("restoration", self.losses, options.learning_rate)]
        if options.adversarial:
            torch.manual_seed(options.seed + 1)
            critic = Critic()
            self.losses.judge = critic.judge_frozen
            network = RestorationCriticLosses(critic, self.losses)
            rate = 2 * options.learning_rate  # it has to learn what the other started with
            self.players.append(Player("critic", network, rate, averaged=False))
        self._received: list[Received] | None = None

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.codec.to(device)
        self.vgg.to(device)
        if device.type == "cuda":
            self.photographs.stay_on(device)

    def batch(self, step: int, process: int, micro: int) -> Batch:
        options = self.options
        index = (step * 1024 + process) * 64 + micro
        rng = np.random.default_rng([options.seed, step, process, micro])
        image = unit(self.photographs.at(index))
        top, left = (int(v) for v in rng.integers(options.crop - options.window + 1, size=2))
        return {
            "image": image.contiguous(memory_format=torch.channels_last),
            "seed": options.seed * 1_000_003 + index,
            "window": (slice(top, top + options.window), slice(left, left + options.window)),
        }

    def prepare(self, batch: Batch) -> Batch:
        return draw_channel(self.codec, batch, self.options)

    def compiled(self) -> list[nn.Module]:
        """The blocks: all have one shape, so that one is compiled for all."""
        return list(self.network.body) if self.options.compile else []

    def _restored(self, limit: int) -> list[tuple[Received, Tensor]]:
        if self._received is None:
            options = self.options
            self._received = received_of(
                self.codec, options.validation, options.checked, self.device
            )
        made = []
        for each in self._received[:limit]:
            preview = each.preview[None].to(self.device)
            image = self.network(preview, each.csi.to(self.device))[0].clamp(0, 1)
            made.append((each, image.cpu()))
        return made

    def validate(self) -> dict[str, float]:
        """Means of PSNR and LPIPS-VGG over ``checked`` images and ``held_out.POINTS``."""
        if not self.options.validation:
            return {}
        table: dict[str, list[float]] = {}
        for each, image in self._restored(1000):
            for name, shown in (("", image), ("_preview", each.preview)):
                pair = (shown[None].to(self.device), each.image[None].to(self.device))
                table.setdefault(f"psnr{name}", []).append(psnr(shown, each.image))
                table.setdefault(f"lpips_vgg{name}", []).append(float(self.vgg(*pair)))
        return {name: float(np.mean(values)) for name, values in table.items()}

    def picture(self, path: Path) -> None:
        if self.options.validation:
            rows = [[each.image, each.preview, image] for each, image in self._restored(8)]
            write_picture(rows, path)


def train_restoration(
    options: RestorationTraining,
    out: Path,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    clock: Clock | None = None,
) -> Path:
    """Train and write ``out/restoration``. Continues where ``out/training`` was left.

    Raises ``SettingsError``, ``ModelError`` and, after a ``stop``, ``KeyboardInterrupt``.
    """
    clock = clock or Clock()
    check_restoration(options)
    stage = RestorationStage(options, out)
    loop = Loop(stage, options, out / "training", report, stop, clock)
    progress = loop.run()
    table = loop.last_look()
    if loop.accelerator.is_main_process:
        with averaged(stage.players):
            write_restoration(stage.network, out, options.codec)
        write_record(out, stage.name, options, progress.record(), table)
    return out / "restoration"


def blend(first: str, second: str, weight: float, out: Path) -> Path:
    """Write ``out/restoration``: (1 - weight) of the first model's restoration and ``weight`` of
    the second's, as in ESRGAN (Wang et al. 2018, section 3.4).

    Of one network before and after a critic: nearly the texture of the one with the distance of
    the other. Raises ``SettingsError`` and ``ModelError``.
    """
    if not 0 <= weight <= 1:
        raise SettingsError(f"--weight {weight:g}: give 0 to 1.")
    networks = [load_restoration(each) for each in (first, second)]
    states = [network.state_dict() for network in networks]
    if states[0].keys() != states[1].keys() or any(
        states[0][key].shape != states[1][key].shape for key in states[0]
    ):
        raise ModelError(f"{first} and {second} have restoration networks of different sizes.")
    made = {key: torch.lerp(states[0][key], states[1][key], weight) for key in states[0]}
    networks[0].load_state_dict(made)
    write_restoration(networks[0], out, first if first in SHIPPED else codec_owner(Path(first)))
    return out / "restoration"


def write_restoration(network: RestorationNetwork, out: Path, codec: str) -> None:
    """``out/restoration``; and, unless ``out`` is the folder of a larger receiver, the index that
    makes ``out`` a receiver of its own. ``codec``: as of ``RestorationTraining``; the index names
    it where it ships."""
    save_half(network, out / "restoration")
    index = out / INDEX
    if not index.is_file() or read_index(index).get("_class_name") == RestorePipeline.__name__:
        RestorePipeline(network, codec if codec in SHIPPED else "").save_config(out)


def check_restoration(options: RestorationTraining) -> None:
    """Raises ``SettingsError``, and ``ModelError`` where the start is not on this machine."""
    check_options(options)
    if options.init == X4PLUS:
        if options.small:
            raise SettingsError(f"--small has no start {X4PLUS}: --init random.")
        from_x4plus()
    if options.window > options.crop or options.window % SHRINK or options.window < SMALLEST:
        raise SettingsError(
            f"--window {options.window}: give a multiple of {SHRINK} pixels, {SMALLEST} or more, "
            f"and no more than --crop."
        )
