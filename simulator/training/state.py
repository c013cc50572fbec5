"""Training checkpoints as safetensors: weights, Adam's moments, and a JSON record.

Written to a temporary file and renamed, so that an interruption leaves the one before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Adam

from simulator.errors import ModelError

FILE = "training.safetensors"


def write_tensors(path: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Tensors and a JSON record in one file, all or nothing."""
    temporary = path.with_suffix(".part")
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in tensors.items()},
        temporary,
        metadata={"record": json.dumps(record)},
    )
    os.replace(temporary, path)


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


Players = Mapping[str, tuple[nn.Module, Adam]]


def save_state(path: Path, players: Players, record: dict[str, Any]) -> None:
    """Write everything that the next step depends on.

    ``players``: each network that is trained and its optimiser, under the prefix of its tensors.
    """
    tensors: dict[str, Tensor] = {}
    for prefix, (model, adam) in players.items():
        tensors |= {f"{prefix}model.{k}": v for k, v in model.state_dict().items()}
        for name, parameter in model.named_parameters():
            for key, value in adam.state.get(parameter, {}).items():
                tensors[f"{prefix}adam.{key}.{name}"] = value
    write_tensors(path, tensors, record)


def put_back(path: Path, tensors: dict[str, Tensor], players: Players) -> None:
    """Put what ``save_state`` wrote into the networks and their optimisers.

    Parameters that need no gradient have no moments. Raises ``ModelError`` if it does not fit.
    """
    try:
        for prefix, (model, adam) in players.items():
            start = f"{prefix}model."
            model.load_state_dict(
                {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            )
            for name, parameter in model.named_parameters():
                if not parameter.requires_grad:
                    continue
                adam.state[parameter] = {
                    key: tensors[f"{prefix}adam.{key}.{name}"].to(
                        parameter.device if key != "step" else "cpu"
                    )
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }
    except (KeyError, ValueError, RuntimeError) as error:
        raise not_ours(path, error) from None
