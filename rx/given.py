"""Captions from a file: for the ablation with captions of the clean image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rx.captioner_file import write_manifest
from simulator.captions import Captions
from simulator.errors import SettingsError
from simulator.link.text import to_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FILE = "captions.json"


class GivenCaptioner:
    """``caption`` needs the images' names. Errors name ``source``."""

    name = "given"

    def __init__(self, captions: Mapping[str, str], source: str = "the given captions") -> None:
        self._captions = Captions(captions, source)

    @classmethod
    def from_file(cls, path: Path | str) -> GivenCaptioner:
        """Raises SettingsError where the file is missing or is no list of captions."""
        found = Captions.from_file(path)
        return cls(found.each, found.source)

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
            source = self._captions.source
            raise SettingsError(f"captions from {source} need the names of the images.")
        if len(names) != len(images):
            raise ValueError(f"{len(names)} names for {len(images)} images")
        return [self._captions.of(name) for name in names]

    def to(self, device: torch.device | str) -> GivenCaptioner:
        return self

    def save_pretrained(self, folder: Path | str) -> None:
        write_manifest(folder, name=self.name, file=FILE)
        text = to_json(self._captions.each, indent=1)
        (Path(folder) / FILE).write_text(text + "\n", encoding="utf-8")
