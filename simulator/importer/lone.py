"""Checkpoints without a configuration: codecs of the literature, as published, in one file or, as
MambaJSCC, in two.

Which one it is, and all of its sizes, are read from the names and shapes of its tensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulator.errors import ModelError
from simulator.importer import mambajscc, ntscc, swinjscc
from simulator.importer.codec import built
from simulator.importer.names import pull
from simulator.importer.source import Tensors, read_state
from simulator.jscc.registry import codec_class


def codec_of_file(path: Path) -> tuple[str, Any, Tensors]:
    """What the file is, its codec on the meta device, and the tensors of it. Raises
    ``ModelError``."""
    state = read_state(path)
    check_held(path, state)
    layout = next((each for each in (swinjscc, ntscc) if each.recognised(state)), None)
    if layout is None:
        raise ModelError(
            f"{path} is no checkpoint of WITT, SwinJSCC or NTSCC: the names of its tensors are "
            f"others; for one of DiffJSCC give the folder with config.yaml and model.ckpt."
        )
    what, config, tensors, table = layout.codec_of(state)
    return what, *filled(layout.CODEC, config, tensors, table, path)


def codec_of_folder(folder: Path) -> tuple[str, Any, Tensors]:
    """The same of a folder with both halves of MambaJSCC."""
    what, config, tensors, table = mambajscc.codec_of(folder)
    check_held(folder, tensors)
    return what, *filled(mambajscc.CODEC, config, tensors, table, folder)


def filled(
    codec: str, config: dict[str, Any], tensors: Tensors, table: dict[str, str], path: Path
) -> tuple[Any, Tensors]:
    """The codec on the meta device, and its tensors. Raises ``ModelError``."""
    with torch.device("meta"):
        network = built(codec_class(codec), config, str(path))
    found = pull(network, tensors, table, "")
    for name, tensor in found.items():
        check_values(f"{path}: {name}", tensor)
    return network, found


def check_held(path: Path, tensors: Tensors) -> None:
    """Raises ``ModelError`` for tensors that would take more memory than their file has of them."""
    for name, tensor in tensors.items():
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.itemsize:
            raise ModelError(f"{path} is damaged: {name} is larger than what the file holds of it.")


def check_values(name: str, tensor: Tensor) -> None:
    """Raises ``ModelError`` for what no weight can be."""
    if not tensor.is_floating_point():
        raise ModelError(f"{name} holds whole numbers, which no weight is.")
    if not bool(torch.isfinite(tensor).all()):
        raise ModelError(f"{name} holds numbers that are not finite; fetch the file again.")
