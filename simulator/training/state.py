"""Training checkpoints as safetensors: weights, Adam's moments, and a JSON record.

Written to a temporary file and renamed, so that an interruption leaves the one before.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Adam

from simulator.errors import ModelError

FILE = "training.safetensors"


def save_state(path: Path, model: nn.Module, adam: Adam, record: dict[str, Any]) -> None:
    """Write everything that the next step depends on."""
    tensors: dict[str, Tensor] = {f"model.{k}": v for k, v in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in adam.state.get(parameter, {}).items():
            tensors[f"adam.{key}.{name}"] = value
    temporary = path.with_suffix(".part")
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in tensors.items()},
        temporary,
        metadata={"record": json.dumps(record)},
    )
    os.replace(temporary, path)


def load_state(path: Path, model: nn.Module, adam: Adam) -> dict[str, Any]:
    """Put a checkpoint back and return its record. Raises ``ModelError`` if it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            record: dict[str, Any] = json.loads(file.metadata()["record"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        for name, parameter in model.named_parameters():
            adam.state[parameter] = {
                key: tensors[f"adam.{key}.{name}"].to(parameter.device if key != "step" else "cpu")
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{path} is not a checkpoint of this training ({reason}); delete it to start anew."
        ) from None
    return record
