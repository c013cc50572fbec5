"""Latents, previews and captions of training photographs, computed once and kept on disk.

The networks that make them are frozen while prior and control module meet each photograph many
times. For each photograph and variant (even ones as it is, odd ones mirrored) there are files:

    clean     z0 = E_ldm(x) * scaling_factor, fp16, and the caption of x
    received  from a random operating point: f_v = E_ldm(x^) * scaling_factor, fp16, the caption
              of x^, snr_db, h and the bandwidth ratio (where there is a codec); x^ is restored
              where the model has a restoration
    sketch    the thin edges of x, where the codec sends them

Each is a function of (seed, photograph, variant). They are written one by one, so that an
interrupted computation goes on where it was; the prior's clean files serve stage 2 as well.

Photographs are computed in an order drawn from the seed, each with all of its files before the
next one: a computation that ends early has whole photographs, from all over the data.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from rx.captioner import Captioner
from rx.restoration import restored
from rx.restore import RestorationNetwork
from rx.sketch import as_sketch, hints_of
from simulator.errors import ImageError
from simulator.images import find_images, load_image
from simulator.jscc.chain import complex_normal, transmit
from simulator.jscc.codec import JsccCodec
from simulator.jscc.csi import Csi
from simulator.jscc.sketch import Sketching
from simulator.jscc.sketched import SketchCodec
from simulator.link.text import to_json
from simulator.tensors import as_pixels, as_tensor, quantised
from simulator.training.options import Channel
from simulator.wholefile import whole

log = logging.getLogger("training")

CELL = 8
REGION_CELLS = 64  # of a larger photograph, a region is taken
MEMORY_ITEMS = 20_000
Maker = Callable[[int, int, torch.device], tuple[dict[str, Tensor], dict[str, Any]]]
Job = tuple[Path, Maker, int]  # file, what makes it, variant
FADED: dict[Channel, float] = {"awgn": 0.0, "rayleigh": 1.0, "both": 0.5}  # part of photographs


@dataclass(frozen=True)
class Item:
    """One variant of a photograph. ``f_v`` and ``csi`` are None without a codec."""

    z0: Tensor  # (C, h, w) fp16
    caption: str
    preview_caption: str
    f_v: Tensor | None
    snr_db: float
    h: complex
    sketch: Tensor | None = None  # (C_s, h, w) fp16, of ``rx.sketch``


def tags_of(paths: Sequence[Path]) -> list[str]:
    """Names of photographs in the cache: of their folder and their name, so that a data set may
    move, and where two have both alike, of their whole paths."""
    names = [f"{path.parent.name}/{path.name}" for path in paths]
    counts = Counter(names)
    whole = [
        name if counts[name] == 1 else os.fspath(path.absolute())
        for name, path in zip(names, paths, strict=True)
    ]
    return [hashlib.sha256(os.fsencode(text)).hexdigest()[:16] for text in whole]


class LatentCache:
    """``fill`` computes what is missing, ``item`` reads; photographs in the order of names.

    ``used``: numbers of the photographs that a training draws from; all, until ``use`` says which.
    """

    def __init__(
        self,
        folder: Path,
        data: list[Path],
        vae: AutoencoderKL,
        captioner: Captioner,
        seed: int,
        variants: int,
        codec: JsccCodec | None = None,
        snr_db: tuple[float, float] = (-5.0, 20.0),
        restoration: RestorationNetwork | None = None,
        channel: Channel = "both",
    ) -> None:
        self.paths = find_images(data)
        self.used = list(range(len(self.paths)))
        self.refused = 0  # photographs that this process could not read
        self._tags = tags_of(self.paths)
        self.variants, self._seed, self._snr_db = variants, seed, snr_db
        self._channel = channel
        self._vae, self._captioner, self._codec = vae, captioner, codec
        self._restoration = restoration
        clean = {"vae": digest(vae), "captioner": captioner.name, "seed": seed}
        self._clean = folder / f"clean-{name_of(clean)}"
        self._clean.mkdir(parents=True, exist_ok=True)
        if codec is not None:
            received = clean | {"codec": digest(codec), "snr_db": snr_db}
            if restoration is not None:
                received["restoration"] = digest(restoration)
            received |= {"channel": channel} if channel != "both" else {}
            self._received = folder / f"received-{name_of(received)}"
            self._received.mkdir(exist_ok=True)
        self._sketching = sketching_of(codec)
        if self._sketching is not None:
            self._sketch = folder / f"sketch-{name_of(asdict(self._sketching) | {'seed': seed})}"
            self._sketch.mkdir(exist_ok=True)
        self.item = lru_cache(MEMORY_ITEMS)(self._read)

    def place(self, device: torch.device) -> None:
        """Move the networks that compute to their device."""
        # The layout in which convolutions at full size are a third faster.
        self._vae.to(device, memory_format=torch.channels_last)
        self._captioner.to(device)
        if self._codec is not None:
            self._codec.to(device)
        if self._restoration is not None:
            self._restoration.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _name(self, photograph: int, variant: int) -> str:
        return f"{self._tags[photograph]}-{variant}.safetensors"

    def _read(self, photograph: int, variant: int) -> Item:
        name = self._name(photograph, variant)
        tensors, meta = read_item(self._clean / name)
        if self._codec is None:
            return Item(tensors["z0"], meta["caption"], "", None, 0.0, 1)
        more, told = read_item(self._received / name)
        h = complex(*told["h"])
        item = Item(tensors["z0"], meta["caption"], told["caption"], more["f_v"], told["snr_db"], h)
        if self._sketching is None:
            return item
        drawn, _ = read_item(self._sketch / name)
        side = CELL // self._sketching.cell
        (hints,) = hints_of(drawn["sketch"][None].half(), side, item.z0.shape[1:])
        return replace(item, sketch=hints)

    def _missing(self, photograph: int) -> list[Job]:
        makers: list[tuple[Path, Maker]] = [(self._clean, self._make_clean)]
        if self._codec is not None:
            makers.append((self._received, self._make_received))
        if self._sketching is not None:
            makers.append((self._sketch, self._make_sketch))
        jobs = [
            (folder / self._name(photograph, variant), make, variant)
            for folder, make in makers
            for variant in range(self.variants)
        ]
        return [job for job in jobs if not job[0].is_file()]

    def complete(self) -> list[int]:
        """Numbers of the photographs of which every file is there. Raises ``ImageError`` where
        there is none."""
        found = [index for index in range(len(self.paths)) if not self._missing(index)]
        if not found:
            raise ImageError(f"none of {len(self.paths)} photographs can be read.")
        return found

    def use(self, photographs: Collection[str]) -> None:
        """Draw from the photographs of these names alone."""
        self.used = [index for index, tag in enumerate(self._tags) if tag in photographs]

    def names(self, photographs: Iterable[int]) -> list[str]:
        """What ``use`` knows them by."""
        return [self._tags[index] for index in photographs]

    def part(self) -> str:
        """``12 of 85`` photographs are used; empty where it is all."""
        used, count = len(self.used), len(self.paths)
        return "" if used == count else f"{used} of {count}"

    def fill(
        self,
        device: torch.device,
        report: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
        share: tuple[int, int] = (0, 1),
        enough: Callable[[], bool] = lambda: False,
    ) -> int:
        """Compute what is not there yet of ``used``; ``share`` = (process, processes), of which
        each has photographs of its own, whatever the others have done by then.

        ``enough`` is asked before each photograph, once there is a whole one. Returns how many
        were computed: a photograph that cannot be read is left out, counted and named. A ``stop``
        raises ``KeyboardInterrupt``: what was computed stays.
        """
        order = np.random.default_rng(self._seed).permutation(len(self.paths))
        used = set(self.used)
        mine = [index for index in order.tolist() if index in used][share[0] :: share[1]]
        missing = {index: jobs for index in mine if (jobs := self._missing(index))}
        total = sum(map(len, missing.values()))
        done = computed = 0
        whole_one = len(missing) < len(mine)
        for index, jobs in missing.items():
            if whole_one and enough():
                break
            try:
                for path, make, variant in jobs:
                    if stop():
                        raise KeyboardInterrupt
                    with torch.inference_mode():
                        write_item(path, *make(index, variant, device))
                    done += 1
                    report(done, total)
            except ImageError as error:
                self.refused += 1
                log.warning("left out, %d of %d: %s", self.refused, len(self.paths), error)
                continue
            whole_one = True
            computed += 1
        return computed

    def _image(self, index: int, variant: int, device: torch.device) -> Tensor:
        """(1, 3, H, W) in [0, 1]: the photograph or a region of it, mirrored or not."""
        rng = np.random.default_rng([self._seed, index, variant])
        pixels = region(load_image(self.paths[index]).pixels, rng)
        if variant % 2:
            pixels = pixels[:, ::-1]
        return as_tensor(np.ascontiguousarray(pixels), device)[None]

    def _make_clean(
        self, index: int, variant: int, device: torch.device
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        image = self._image(index, variant, device)
        return {"z0": self._latent(image)}, {"caption": self._captioner.caption(image)[0]}

    def _make_received(
        self, index: int, variant: int, device: torch.device
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        image = self._image(index, variant, device)
        rng = np.random.default_rng([self._seed, index, variant, 1])
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        preview, snr_db, h, cbr = self._send(image, generator)
        told = {"snr_db": snr_db, "h": [h.real, h.imag], "cbr": cbr}
        caption = self._captioner.caption(preview)[0]
        return {"f_v": self._latent(preview)}, told | {"caption": caption}

    def _make_sketch(
        self, index: int, variant: int, device: torch.device
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """int8, as of ``rx.sketch.as_sketch``."""
        assert self._sketching is not None
        edges = self._sketching.edges(as_pixels(self._image(index, variant, device)[0]))
        assert edges is not None
        return {"sketch": as_sketch([edges], edges.shape)[0].to(torch.int8)}, {}

    def _latent(self, image: Tensor) -> Tensor:
        """(C, h, w) fp16 on the CPU: posterior mode * scaling_factor, equation (7)."""
        return latent_of(self._vae, image)[0].half().cpu().contiguous()

    def _send(
        self, image: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, float, complex, str]:
        """The image to refine at a random ratio and SNR, and a Rayleigh gain where the channel has
        one: for half of all where it is ``both``."""
        codec = self._codec
        assert codec is not None
        ratios = codec.bandwidth_ratios
        ratio = ratios[int(torch.randint(len(ratios), (1,), generator=generator))]
        low, high = self._snr_db
        snr = low + (high - low) * torch.rand(1, generator=generator)
        faded = bool(torch.rand(1, generator=generator) < FADED[self._channel])
        gain = complex_normal((1,), generator)
        h = gain if faded else torch.ones(1, dtype=torch.complex64)
        k = codec.k(ratio, (image.shape[-2], image.shape[-1]))
        noise = complex_normal((1, k), generator, image.device)
        csi = Csi(snr, h).to(image.device)
        preview = quantised(transmit(codec, image, csi, csi, noise, ratio))
        if self._restoration is not None:
            preview = restored(self._restoration, preview, csi, None)
        return preview, float(snr), complex(h), str(ratio)


def sketching_of(codec: JsccCodec | None) -> Sketching | None:
    """How a codec that sends sketches draws them."""
    found = codec.sketching if isinstance(codec, SketchCodec) else None
    return found if found and found.share else None


def latent_of(vae: AutoencoderKL, image: Tensor) -> Tensor:
    """Equation (7): (B, 3, H, W) in [0, 1] -> (B, C, H/f, W/f) fp32, the posterior's mode, scaled
    as the denoiser is used to."""
    mode = vae.encode(image.to(vae.dtype) * 2 - 1).latent_dist.mode().float()
    scaled: Tensor = (mode - (vae.config["shift_factor"] or 0)) * vae.config["scaling_factor"]
    return scaled


def pixels_of(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """The inverse of ``latent_of``: (B, C, h, w) -> (B, 3, f h, f w) fp32, about [0, 1]."""
    z = latents.to(vae.dtype) / vae.config["scaling_factor"] + (vae.config["shift_factor"] or 0)
    made: Tensor = vae.decode(z).sample
    return made.float() / 2 + 0.5


def region(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whole cells of 16 px, at most ``REGION_CELLS`` latent cells a side, at a random place."""
    most = REGION_CELLS * CELL
    sides = [min(side, most) // 16 * 16 for side in pixels.shape[:2]]
    top, left = (
        int(rng.integers(side - part + 1))
        for side, part in zip(pixels.shape[:2], sides, strict=True)
    )
    return pixels[top : top + sides[0], left : left + sides[1]]


def write_item(path: Path, tensors: dict[str, Tensor], told: dict[str, Any]) -> None:
    with whole(path) as temporary:
        save_file(tensors, temporary, metadata={"item": to_json(told)})


def read_item(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["item"])


def name_of(what: dict[str, Any]) -> str:
    """A short name of what a file depends on."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, allow_nan=False).encode()).hexdigest()[
        :12
    ]


def digest(module: torch.nn.Module) -> str:
    """A short name of weights."""
    total = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.detach().cpu().half().contiguous().numpy().tobytes())
    return total.hexdigest()[:12]


def crop_of(item: Item, cells: int, rng: np.random.Generator) -> tuple[Tensor | None, ...]:
    """The same random square of z0, f_v and sketch; smaller items are extended by reflection."""
    each = (item.z0, item.f_v, item.sketch)
    joined = torch.cat([part for part in each if part is not None]).float()
    short = [max(0, cells - side) for side in joined.shape[1:]]
    if any(short):
        joined = torch.from_numpy(
            np.pad(joined.numpy(), ((0, 0), (0, short[0]), (0, short[1])), mode="symmetric")
        )
    top, left = (int(rng.integers(side - cells + 1)) for side in joined.shape[1:])
    joined = joined[:, top : top + cells, left : left + cells]
    found, begin = [], 0
    for part in each:
        size = 0 if part is None else len(part)
        found.append(joined[begin : begin + size] if size else None)
        begin += size
    return tuple(found)
