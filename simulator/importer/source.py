"""What is imported: a folder with ``config.yaml`` and ``model.ckpt``, or a hub repository of both.

The checkpoint is mapped into memory, not read: a component at a time is converted and written,
so that the whole is never held twice. Pickled objects are never run.
"""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor

from simulator.errors import ModelError, SettingsError, path_from
from simulator.importer.config import OfficialConfig
from simulator.importer.inert import Inert, load_inert
from simulator.textfile import read_text

CONFIG = "config.yaml"
CHECKPOINT = "model.ckpt"
PARALLEL = "module."

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Source:
    """An official checkpoint: its configuration and its one state dict."""

    name: str
    config: OfficialConfig
    state: Tensors

    def part(self, prefix: str) -> Tensors:
        """The tensors below ``prefix``, by their names without it."""
        return {n.removeprefix(prefix): t for n, t in self.state.items() if n.startswith(prefix)}


def open_source(source: str) -> Source:
    """Read a folder or hub id. Raises ``ModelError`` or ``SettingsError`` with one sentence."""
    folder = path_from(source)
    if not folder.is_dir():
        folder = download(source)
    for name in (CONFIG, CHECKPOINT):
        if not (folder / name).is_file():
            raise ModelError(
                f"{folder} has no {name}; an official checkpoint is a folder with "
                f"{CONFIG} and {CHECKPOINT}."
            )
    return Source(source, read_config(folder / CONFIG), read_state(folder / CHECKPOINT))


def download(repository: str) -> Path:
    """The local copy of a hub repository ``owner/name``."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    nowhere = SettingsError(
        f"{repository} is no file here, and neither a folder nor a hub id such as owner/name."
    )
    if repository.count("/") != 1 or repository.startswith((".", "/", "~")):
        raise nowhere
    try:
        return Path(snapshot_download(repository, allow_patterns=[CONFIG, CHECKPOINT]))
    except HFValidationError:
        raise nowhere from None
    except (HfHubHTTPError, OSError) as error:  # offline, unknown, private, interrupted
        raise ModelError(
            f"{repository} is no folder here and cannot be had from the hub "
            f"({type(error).__name__}); download it on a machine with a network and give the "
            f"folder."
        ) from None


def read_config(path: Path) -> OfficialConfig:
    """Plain YAML only: no tags that build objects."""
    try:
        tree: Any = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, UnicodeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{path} is not plain YAML: {reason}.") from None
    return OfficialConfig(str(path), tree)


def read_record(path: Path) -> Any:
    """What a file of ``torch.save`` holds. ``inert`` reads archives, whatever stands beside the
    tensors; nothing in them is run. Raises ``ModelError``."""
    try:
        if zipfile.is_zipfile(path):
            return load_inert(path)
        # Written before torch 1.6: tensors alone.
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if not zipfile.is_zipfile(path) and not _is_pickle(path):
            raise ModelError(f"{path} is no checkpoint: its bytes are no pickle.") from None
        raise ModelError(
            f"{path} holds pickled objects in a form that cannot be read without running them; "
            f"save its state dict alone, where you trust it."
        ) from None
    # A damaged pickle lets its machine fall over anywhere.
    except Exception as error:
        reason = (
            str(error).partition(". ")[0].splitlines()[0] if str(error) else type(error).__name__
        )
        if isinstance(error, KeyError):  # of an opcode
            reason = "its bytes are no pickle"
        raise ModelError(f"{path} is damaged or no checkpoint: {reason.rstrip('.')}.") from None


def _is_pickle(path: Path) -> bool:
    """Of protocol 2 or later, as ``torch.save`` writes it."""
    with path.open("rb") as file:
        return file.read(1) == pickle.PROTO


def read_state(path: Path) -> Tensors:
    """The state dict of a checkpoint, perhaps under ``state_dict``; tensors only. The ``module.``
    that a parallel trainer puts before all names goes."""
    record = read_record(path)
    if isinstance(record, Inert):
        raise ModelError(
            f"{path} holds an object and no state dict; of MambaJSCC, whose halves are saved "
            f"whole, give the folder with both."
        )
    state = record.get("state_dict", record) if isinstance(record, dict) else None
    if not isinstance(state, dict):
        raise ModelError(f"{path} holds no state dict.")
    found = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if found and all(name.startswith(PARALLEL) for name in found):
        found = {name.removeprefix(PARALLEL): value for name, value in found.items()}
    return found
