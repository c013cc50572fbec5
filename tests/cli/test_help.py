"""Help is readable at 80 columns, and options of trainings are those of their dataclasses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from simulator.cli.main import app
from simulator.training.options import (
    AutoencoderTraining,
    CodecTraining,
    ControlTraining,
    PriorTraining,
    Recipe,
    RestorationTraining,
    names_of,
)

OPTIONS = {
    "codec": CodecTraining,
    "restoration": RestorationTraining,
    "autoencoder": AutoencoderTraining,
    "prior": PriorTraining,
    "control": ControlTraining,
    "all": Recipe,
}


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*words, name))


COMMANDS = dict(commands(get_command(app)))


def help_of(*words: str) -> str:
    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*words, "--help"])
    assert done.exit_code == 0, done.output
    return str(done.output)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_and_cuts_nothing(words: tuple[str, ...]) -> None:
    shown = help_of(*words)
    assert max(map(len, shown.splitlines())) <= 80
    for parameter in COMMANDS[words].params:
        if getattr(parameter, "hidden", False):
            continue
        names = [name for name in (*parameter.opts, *parameter.secondary_opts) if name[:2] == "--"]
        assert all(name in shown.split() or f"{name}\n" in shown for name in names), names
        if not names:
            assert parameter.name in shown
        assert parameter.help and parameter.help.endswith((".", "?")), parameter.name
    assert "…" not in shown
    for name in getattr(COMMANDS[words], "commands", {}):
        (line,) = [each for each in shown.splitlines() if each.split()[:1] == [name]]
        assert line.endswith((".", ")", "8")) and not line.endswith("..."), line


@pytest.mark.parametrize("name", OPTIONS)
def test_every_field_is_an_option(name: str) -> None:
    shown, kind = help_of("train", name).split(), OPTIONS[name]
    for field in fields(kind):
        on, off = names_of(kind, field.name)
        assert on in shown, field.name
        assert not off or off in shown, field.name
    assert "--out" in shown
