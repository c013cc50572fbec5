"""Captions from a file: for the ablation with captions of the clean image.

JSON: an object of names and captions. CSV: two columns, name and caption; a first line whose
second column is ``caption`` is a heading. A name is the image's file name, with or without its
suffix, or where images in several folders have one name, its path: ``a/img.png``. A key and an
image fit where their last folders agree, as far as both name any; of several that fit, the one
that names most folders is taken.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rx.captioner_file import write_manifest
from simulator.errors import SettingsError, path_from
from simulator.link.text import to_json
from simulator.textfile import read_text

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FILE = "captions.json"


class GivenCaptioner:
    """``caption`` needs the images' names. ``source`` is told in errors."""

    name = "given"

    def __init__(self, captions: Mapping[str, str], source: str = "the given captions") -> None:
        self.captions, self.source = dict(captions), source
        self._keys: dict[str, list[str]] = {}  # by names with and without suffix
        for key in self.captions:
            for name in {*names_of(key)}:
                self._keys.setdefault(name, []).append(key)

    @classmethod
    def from_file(cls, path: Path | str) -> GivenCaptioner:
        """Raises SettingsError where the file is missing or is no list of captions."""
        return cls(read_captions(path_from(path)), str(path))

    @classmethod
    def from_record(
        cls,
        record: dict[str, Any],
        folder: Path | None,
        device: torch.device | str,
        dtype: torch.dtype | None,
    ) -> GivenCaptioner:
        """``file`` of ``captioner.json`` lies beside it."""
        if "file" not in record:
            raise SettingsError("the captioner 'given' needs a file of captions: given:FILE.")
        return cls.from_file((folder or Path()) / record["file"])

    def caption(self, images: Tensor, names: Sequence[str] | None = None) -> list[str]:
        """B captions. Raises SettingsError for an image without one."""
        if names is None:
            raise SettingsError(f"captions from {self.source} need the names of the images.")
        if len(names) != len(images):
            raise ValueError(f"{len(names)} names for {len(images)} images")
        return [self._of(name) for name in names]

    def _of(self, path: str) -> str:
        fits = {
            key: rank
            for name in names_of(path)
            for key in self._keys.get(name, [])
            if (rank := fit(key, path)) is not None
        }
        best = {self.captions[key] for key, rank in fits.items() if rank == max(fits.values())}
        if len(best) == 1:
            return best.pop()
        if best:
            raise SettingsError(
                f"{self.source} has more than one caption for the image {path}; write its path, "
                "such as folder/name.png, in place of its name."
            )
        raise SettingsError(f"{self.source} has no caption for the image {path}; write one.")

    def to(self, device: torch.device | str) -> GivenCaptioner:
        return self

    def save_pretrained(self, folder: Path | str) -> None:
        write_manifest(folder, name=self.name, file=FILE)
        text = to_json(self.captions, indent=1)
        (Path(folder) / FILE).write_text(text + "\n", encoding="utf-8")


def parts_of(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")] or [""]


def names_of(path: str) -> tuple[str, str]:
    """The name of a file with and without its suffix."""
    name = parts_of(path)[-1]
    return name, Path(name).stem


def fit(key: str, path: str) -> tuple[int, int] | None:
    """How many folders a key and a path have in common at their ends, and how well their names
    agree; None where they contradict one another."""
    *key_folders, key_name = parts_of(key)
    *folders, name = parts_of(path)
    both = list(zip(reversed(key_folders), reversed(folders), strict=False))
    if any(a != b for a, b in both):
        return None
    exactness = 2 if key_name == name else 1 if key_name == Path(name).stem else 0
    return len(both), exactness


def read_captions(path: Path) -> dict[str, str]:
    """Captions by name. Raises SettingsError with one sentence."""
    try:
        text = read_text(path)
    except OSError as error:
        raise SettingsError(f"the captions in {path} cannot be read: {error.strerror}.") from None
    except UnicodeError as error:
        raise SettingsError(f"the captions in {path} cannot be read: {error}.") from None
    return from_csv(text, path) if path.suffix.lower() == ".csv" else from_json(text, path)


def from_json(text: str, path: Path) -> dict[str, str]:
    try:
        captions = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{path} is not JSON ({error}); correct it.") from None
    if not isinstance(captions, dict) or not all(isinstance(v, str) for v in captions.values()):
        raise SettingsError(f"{path} is not a JSON object of image names and captions.")
    return captions


def from_csv(text: str, path: Path) -> dict[str, str]:
    captions: dict[str, str] = {}
    try:
        lines = [line for line in csv.reader(text.splitlines(keepends=True), strict=True) if line]
    except csv.Error as error:
        raise SettingsError(f"{path} is not CSV ({error}); correct it.") from None
    for number, line in enumerate(lines, 1):
        if len(line) != 2:
            raise SettingsError(
                f"{path} has {len(line)} columns in its row {number}, not two: image name and "
                "caption; put quotation marks around a caption with commas."
            )
        name, caption = (cell.strip() for cell in line)
        if number > 1 or caption.lower() != "caption":
            captions[name] = caption
    return captions
