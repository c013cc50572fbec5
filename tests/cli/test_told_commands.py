"""The commands that the texts show have the options that they are shown with."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from simulator.cli.main import app

ROOT = Path(__file__).parents[2]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"```(?:\w*)\n(.*?)```", re.DOTALL)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each ``diffjscc ...`` in blocks of code, without what a shell sees."""
    for block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("diffjscc "):
                try:
                    yield shlex.split(line, comments=True)[1:]
                except ValueError:  # a quotation that goes on in the next line
                    continue


def unknown(words: list[str]) -> list[str]:
    """Options of one command that there are not."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while rest and hasattr(command, "get_command"):  # a group
        command = command.get_command(typer.Context(command), rest[0])
        if command is None:
            return [rest[0]]
        rest.pop(0)
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    asked = [word.partition("=")[0] for word in rest if word.startswith("--")]
    return [word for word in asked if word not in known | {"--help"}]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_option_exists(path: Path) -> None:
    lost = {" ".join(words): unknown(words) for words in commands(path.read_text("utf-8"))}
    assert {line: options for line, options in lost.items() if options} == {}


def test_an_option_that_is_not_there_is_seen() -> None:
    assert sum(len(list(commands(path.read_text("utf-8")))) for path in TEXTS) > 60
    assert unknown(["simulate", "photos/", "--retrun", "refined"]) == ["--retrun"]
    assert unknown(["train", "codec", "--codec", "padc", "--steps=3"]) == []
