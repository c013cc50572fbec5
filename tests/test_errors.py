"""Missing packages: one sentence, which is true for a wheel and for a checkout."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.errors import add_extra, missing_package

ROOT = Path(__file__).parent.parent
SOURCES = [
    path for part in ("simulator", "tx", "channel", "rx") for path in (ROOT / part).rglob("*.py")
]
#: The argument that is an extra.
PLACES = {"missing_package": 2, "add_extra": 0, "package": 1}


def extras_named(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            place = PLACES.get(node.func.id, len(node.args))
            for argument in node.args[place : place + 1]:
                if isinstance(argument, ast.Constant):
                    yield from str(argument.value).split(",")


def test_a_sentence_says_what_is_missing_and_how_to_get_it():
    said = missing_package("the receiver", "torch", "rx", "go without")
    assert said.exit_code == 9
    assert str(said) == ('the receiver needs torch: pip install "diffjscc[rx]", or go without.')
    assert str(missing_package("export", "onnx", "train,tx")).endswith('"diffjscc[train,tx]".')


def test_every_extra_that_is_named_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "diffjscc"
    named = {extra for path in SOURCES for extra in extras_named(path.read_text())}
    assert {"tx", "rx", "eval", "nr", "ray", "train", "demo", "tensorboard"} <= named
    assert named <= set(project["optional-dependencies"])


@pytest.mark.parametrize("phrase", ["project folder", 'pip install ".', "pip install '."])
def test_no_message_needs_a_checkout(phrase):
    assert [path for path in SOURCES if phrase in path.read_text()] == []
    assert phrase not in add_extra("rx")
