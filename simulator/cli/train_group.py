"""``diffjscc train`` by its name: its commands, which have an option for every field of a training,
are made when one of them is asked for. Every other command would wait for them.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import typer
from typer.core import TyperGroup


class TrainGroup(TyperGroup):
    @cached_property
    def _made(self) -> Any:
        from simulator.cli.train import train

        return typer.main.get_group(train)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self._made.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return self._made.get_command(ctx, cmd_name)


TRAIN = typer.Typer(
    cls=TrainGroup, help="Train the models that ship with the project.", no_args_is_help=True
)
