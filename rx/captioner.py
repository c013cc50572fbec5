"""Captions of the received image, equation (8)'s c: what the text condition is made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from rx.captioner_file import MANIFEST, write_manifest
from simulator.errors import ModelError, path_from
from simulator.metrics.effnet import class_names, load_effnet
from simulator.textfile import read_text

#: The one list of captioners. Adding one is a new file and a line here.
CAPTIONERS = {
    "keywords": "rx.captioner:KeywordCaptioner",
    "blip2": "rx.blip2:Blip2Captioner",
    "given": "rx.given:GivenCaptioner",
    "none": "rx.captioner:NoCaptioner",
}


class Captioner(Protocol):
    """Tells what is seen in images. ``name`` is the one in ``CAPTIONERS``."""

    name: str

    def caption(self, images: Tensor, names: Sequence[str] | None = None) -> list[str]:
        """B captions of (B, 3, H, W) images in [0, 1]; ``names`` are their files' names."""
        ...

    def to(self, device: torch.device | str) -> Captioner: ...

    def save_pretrained(self, folder: Path | str) -> None:
        """Write a folder that ``load_captioner`` reads."""
        ...

    @classmethod
    def from_record(
        cls,
        record: dict[str, Any],
        folder: Path | None,
        device: torch.device | str,
        dtype: torch.dtype | None,
    ) -> Captioner:
        """As ``captioner.json`` in ``folder`` says; no folder where it was named alone."""
        ...


class NoCaptioner:
    """An empty caption for every image: the model without text condition."""

    name = "none"

    def caption(self, images: Tensor, names: Sequence[str] | None = None) -> list[str]:
        return [""] * len(images)

    def to(self, device: torch.device | str) -> NoCaptioner:
        return self

    def save_pretrained(self, folder: Path | str) -> None:
        write_manifest(folder, name=self.name)

    @classmethod
    def from_record(
        cls,
        record: dict[str, Any],
        folder: Path | None,
        device: torch.device | str,
        dtype: torch.dtype | None,
    ) -> NoCaptioner:
        return cls()


class KeywordCaptioner:
    """EfficientNet-Lite0's most probable classes, such as ``seashore, lakeside, boathouse``.

    At most ``count`` of the 1000 names of ImageNet in order of probability, those of at least
    ``threshold`` and always one. The whole image is seen, at a short side of ``SHORT_SIDE_PX``.
    Raises ModelError where the network cannot be had.
    """

    name = "keywords"
    #: Of the network's training.
    SHORT_SIDE_PX = 224
    #: A strip of a panorama is seen smaller, so that it costs no more than four square images.
    LONG_SIDE_PX = 4 * 224

    def __init__(
        self, count: int = 4, threshold: float = 0.05, device: torch.device | str = "cpu"
    ) -> None:
        self.count, self.threshold = count, threshold
        self._network = load_effnet(device)

    def caption(self, images: Tensor, names: Sequence[str] | None = None) -> list[str]:
        device = next(self._network.parameters()).device
        logits, _ = self._network.classes(self._seen(images.to(device, torch.float32)))
        top = logits.softmax(dim=1).topk(self.count, dim=1)
        return [
            self._phrase(probabilities, indices)
            for probabilities, indices in zip(
                top.values.tolist(), top.indices.tolist(), strict=True
            )
        ]

    def _seen(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        scale = min(self.SHORT_SIDE_PX / min(height, width), self.LONG_SIDE_PX / max(height, width))
        size = [max(32, round(side * scale)) for side in (height, width)]
        small = functional.interpolate(images, size=size, mode="bicubic", antialias=True)
        return small.clamp(0, 1)

    def _phrase(self, probabilities: Sequence[float], indices: Sequence[int]) -> str:
        seen = [
            class_names()[index]
            for rank, (index, probability) in enumerate(zip(indices, probabilities, strict=True))
            if rank == 0 or probability >= self.threshold
        ]
        # Two classes are named crane, two cardigan and two maillot.
        return ", ".join(dict.fromkeys(seen))

    def to(self, device: torch.device | str) -> KeywordCaptioner:
        self._network.to(device)
        return self

    def save_pretrained(self, folder: Path | str) -> None:
        write_manifest(folder, name=self.name, count=self.count, threshold=self.threshold)

    @classmethod
    def from_record(
        cls,
        record: dict[str, Any],
        folder: Path | None,
        device: torch.device | str,
        dtype: torch.dtype | None,
    ) -> KeywordCaptioner:
        settings = {key: record[key] for key in ("count", "threshold") if key in record}
        return cls(**settings, device=device)


def captions_for(
    captioner: Captioner | None,
    image: Tensor,
    given: Sequence[str | None] | None,
    device: torch.device,
    home: torch.device,
) -> list[str]:
    """Those that are given, and for the others what the captioner says; empty without one.

    It runs on ``device``, and goes back to the processor where ``home`` is another one.
    """
    told: list[str | None] = list(given) if given is not None else [None] * len(image)
    asked = [i for i, each in enumerate(told) if each is None]
    if captioner is not None and asked:
        captioner.to(device)
        for i, caption in zip(asked, captioner.caption(image[asked]), strict=True):
            told[i] = caption
        if home != device:  # under offloading nothing stays
            captioner.to("cpu")
    return [each or "" for each in told]


def load_captioner(
    name_or_folder: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Captioner:
    """A captioner by name, ``given:FILE``, or a folder: with ``captioner.json``, or of a BLIP-2
    in the hub's layout.

    ``dtype`` is for those that have a choice. Raises ModelError, or SettingsError for a file of
    captions, with one sentence.
    """
    told = str(name_or_folder)
    folder: Path | None = None
    if told in CAPTIONERS:
        record: dict[str, Any] = {"name": told}
    elif told.startswith("given:"):
        record = {"name": "given", "file": str(path_from(told.removeprefix("given:")).absolute())}
    else:
        folder = path_from(told)
        record = read_manifest(folder)
    module, attribute = CAPTIONERS[record["name"]].split(":")
    captioner = getattr(import_module(module), attribute)
    return captioner.from_record(record, folder, device, dtype)  # type: ignore[no-any-return]


def read_manifest(folder: Path) -> dict[str, Any]:
    """What ``captioner.json`` says. Raises ModelError."""
    path = folder / MANIFEST
    names = ", ".join(CAPTIONERS)
    if not path.is_file():
        if (folder / "config.json").is_file():  # as downloaded from the hub
            return {"name": "blip2"}
        raise ModelError(
            f"{folder} is no captioner: there is no {path}; give a captioner's folder, "
            f"given:FILE or one of {names}."
        )
    try:
        record = dict(json.loads(read_text(path)))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path} is damaged ({error}); write it again.") from None
    if record.get("name") not in CAPTIONERS:
        raise ModelError(f"{path} names no captioner that there is; there are {names}.")
    return record
