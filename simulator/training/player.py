"""A network that is trained: its optimiser, its moving average, and both in a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.optim import AdamW

from simulator.errors import ModelError
from simulator.training.state import read_tensors, write_tensors


@dataclass
class Player:
    """A network that is trained. ``network(batch, step)`` returns its loss terms, which are
    summed; ``batch["done"]`` is the part of the training that is over. Parameters that need no
    gradient are frozen and not saved."""

    name: str
    network: nn.Module
    learning_rate: float
    averaged: bool = True
    adam: AdamW = field(init=False)
    ema: EMAModel | None = field(init=False, default=None)

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        return [(n, p) for n, p in self.network.named_parameters() if p.requires_grad]


@contextmanager
def averaged(players: list[Player]) -> Iterator[None]:
    """With the moving averages in place of the weights."""
    for player in players:
        if player.ema:
            parameters = [p for _, p in player.parameters()]
            player.ema.store(parameters)
            player.ema.copy_to(parameters)
            player.network.eval()
    try:
        yield
    finally:
        for player in players:
            if player.ema:
                player.ema.restore([p for _, p in player.parameters()])
                player.network.train()


def statistics(network: nn.Module) -> dict[str, Tensor]:
    """What a network keeps beside its parameters, such as the means of a batch normalisation."""
    parameters = {name for name, _ in network.named_parameters()}
    return {k: v for k, v in network.state_dict().items() if k not in parameters}


def save_players(path: Path, players: list[Player], record: dict[str, Any]) -> None:
    """Everything that the next step depends on."""
    tensors: dict[str, Tensor] = {}
    for player in players:
        named = player.parameters()
        for name, buffer in statistics(player.network).items():
            tensors[f"{player.name}.buffer.{name}"] = buffer
        for name, parameter in named:
            tensors[f"{player.name}.model.{name}"] = parameter
            for key, value in player.adam.state.get(parameter, {}).items():
                tensors[f"{player.name}.adam.{key}.{name}"] = value
        if player.ema:
            for (name, _), shadow in zip(named, player.ema.shadow_params, strict=True):
                tensors[f"{player.name}.ema.{name}"] = shadow
    write_tensors(path, tensors, record)


def load_players(
    path: Path, players: list[Player], check: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Put a checkpoint back and return its record, which ``check`` sees first: other options may
    make networks of other shapes. Raises ``ModelError`` if it is damaged."""
    record, tensors = read_tensors(path)
    check(record)
    try:
        for player in players:
            for name, buffer in statistics(player.network).items():
                buffer.copy_(tensors[f"{player.name}.buffer.{name}"])
            for index, (name, parameter) in enumerate(player.parameters()):
                parameter.data.copy_(tensors[f"{player.name}.model.{name}"])
                prefix = f"{player.name}.adam."
                state = {"step": tensors[f"{prefix}step.{name}"].to(parameter.device)}
                for key in ("exp_avg", "exp_avg_sq"):
                    # In the parameter's own memory format: fused Adam walks both side by side.
                    moment = torch.zeros_like(parameter, requires_grad=False)
                    state[key] = moment.copy_(tensors[f"{prefix}{key}.{name}"])
                player.adam.state[parameter] = state
                if player.ema:
                    player.ema.shadow_params[index].copy_(tensors[f"{player.name}.ema.{name}"])
            if player.ema:
                player.ema.optimization_step = record["progress"]["step"]
    except (KeyError, RuntimeError) as error:
        raise ModelError(
            f"{path} is not a checkpoint of this training ({str(error).splitlines()[0]}); "
            "delete it to start anew."
        ) from None
    return record
