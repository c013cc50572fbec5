"""Training checkpoints as safetensors: weights, Adam's moments, and a JSON record.

An interruption leaves the one before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from simulator.errors import ModelError
from simulator.link.text import to_json
from simulator.wholefile import whole


def write_tensors(path: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Tensors and a JSON record in one file, all or nothing. Raises ``StorageError``."""
    held = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with whole(path) as temporary:
        save_file(held, temporary, metadata={"record": to_json(record)})


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What ``write_tensors`` wrote. Raises ``ModelError`` if the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            record: dict[str, Any] = json.loads(file.metadata()["record"])
            return record, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, OSError) as error:
        raise not_ours(path, error) from None


def not_ours(path: Path, error: Exception) -> ModelError:
    reason = str(error).splitlines()[0]
    return ModelError(
        f"{path} is not a checkpoint of this training ({reason}); delete it to start anew."
    )
