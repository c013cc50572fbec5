"""Where weights are kept once they were found or fetched: safetensors in the user's cache.

``~/.cache/diffjscc``; ``XDG_CACHE_HOME`` is honoured. A file can be carried to a machine that
is offline.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from simulator.errors import ModelError

Weights = dict[str, Tensor]


def cache_path(name: str) -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "diffjscc" / name


def package_file(package: str, name: str) -> Path | None:
    """A file inside an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    for root in (spec.submodule_search_locations if spec else None) or ():
        if (Path(root) / name).is_file():
            return Path(root) / name
    return None


def keep(weights: Weights, target: Path) -> None:
    """Store in the cache. A cache that cannot be written costs a second each time, no more."""
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, temporary)
        os.replace(temporary, target)
    except (OSError, SafetensorError):
        with contextlib.suppress(OSError):
            temporary.unlink()


def read_weights(
    path: Path, shapes: Mapping[str, tuple[int, ...]], what: str, how_to_get: str
) -> Weights:
    """The tensors of a safetensors file, which must have exactly these names and shapes.

    Raises ModelError, which calls them ``what`` and ends in ``how_to_get``.
    """
    advice = f"delete it or get another by {how_to_get}"
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        message = f"The {what} weights {path} cannot be read as safetensors ({error}); {advice}."
        raise ModelError(message) from error
    if {name: tuple(tensor.shape) for name, tensor in weights.items()} != dict(shapes):
        raise ModelError(f"{path} holds other weights than those of {what}; {advice}.")
    return weights
