"""Captions of images from a file: what tx sends, or what the receiver is given for an ablation.

JSON: an object of names and captions. CSV: two columns, name and caption; a first line whose
second column is ``caption`` is a heading. A name is the image's file name, with or without its
suffix, or where images in several folders have one name, its path: ``a/img.png``. A key and an
image fit where their last folders agree, as far as both name any; of several that fit, the one
that names most folders is taken.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from simulator.errors import SettingsError, path_from
from simulator.link.text import to_json
from simulator.textfile import read_text


class Captions:
    """Captions by name. Errors name ``source``."""

    def __init__(self, each: Mapping[str, str], source: str = "the given captions") -> None:
        self.each, self.source = dict(each), source
        self._keys: dict[str, list[str]] = {}  # by names with and without suffix
        for key in self.each:
            for name in {*names_of(key)}:
                self._keys.setdefault(name, []).append(key)

    @classmethod
    def from_file(cls, path: Path | str) -> Captions:
        """Raises SettingsError where the file is missing or is no list of captions."""
        return cls(read_captions(path_from(path)), str(path))

    @property
    def fingerprint(self) -> str:
        """Names these captions."""
        text = to_json(dict(sorted(self.each.items())))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def of(self, path: str) -> str:
        """The caption of an image. Raises SettingsError for one without."""
        fits = {
            key: rank
            for name in names_of(path)
            for key in self._keys.get(name, [])
            if (rank := fit(key, path)) is not None
        }
        best = {self.each[key] for key, rank in fits.items() if rank == max(fits.values())}
        if len(best) == 1:
            return best.pop()
        if best:
            raise SettingsError(
                f"{self.source} has more than one caption for the image {path}; write its path, "
                "such as folder/name.png, in place of its name."
            )
        raise SettingsError(f"{self.source} has no caption for the image {path}; write one.")


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
