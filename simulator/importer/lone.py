"""Checkpoints that are one file without a configuration: codecs of the literature, as published.

Which one it is, and all of its sizes, are read from the names and shapes of its tensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from simulator.errors import ModelError
from simulator.importer import ntscc, swinjscc
from simulator.importer.codec import built
from simulator.importer.names import pull
from simulator.importer.source import Tensors, read_state
from simulator.jscc.registry import codec_class


def codec_of_file(path: Path) -> tuple[str, Any, Tensors]:
    """What the file is, its codec on the meta device, and the tensors of it. Raises
    ``ModelError``."""
    state = read_state(path)
    for name, tensor in state.items():
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.itemsize:
            raise ModelError(f"{path} is damaged: {name} is larger than what the file holds of it.")
    layout = next((each for each in (swinjscc, ntscc) if each.recognised(state)), None)
    if layout is None:
        raise ModelError(
            f"{path} is no checkpoint of WITT, SwinJSCC or NTSCC: the names of its tensors are "
            f"others; for one of DiffJSCC give the folder with config.yaml and model.ckpt."
        )
    what, config, tensors, table = layout.codec_of(state)
    kind = codec_class(layout.CODEC)
    with torch.device("meta"):
        network = built(kind, config, str(path))
    found = pull(network, tensors, table, "")
    for name, tensor in found.items():
        check_values(f"{path}: {name}", tensor)
    return what, network, found


def check_values(name: str, tensor: Tensor) -> None:
    """Raises ``ModelError`` for what no weight can be."""
    if not tensor.is_floating_point():
        raise ModelError(f"{name} holds whole numbers, which no weight is.")
    if not bool(torch.isfinite(tensor).all()):
        raise ModelError(f"{name} holds numbers that are not finite; fetch the file again.")
