"""Names that are no UTF-8, numbers that JSON does not have: what is written can be read."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from typing import Any

import pytest
from helpers import refuse
from hypothesis import given
from hypothesis import strategies as st

from simulator.link.text import readable, short_name, strict, to_json

ROOT = Path(__file__).parents[2]
ANY_TEXT = st.text(st.characters())  # lone surrogates among them
ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
)


@given(ANY_VALUE)
def test_every_value_becomes_json_that_strict_parsers_take(value: Any) -> None:
    text = to_json(value)
    again = json.loads(text, parse_constant=refuse)
    assert again == strict(value)
    json.dumps(again, ensure_ascii=False).encode()  # no lone surrogate in it


@given(st.binary(min_size=1, max_size=300))
def test_every_name_of_bytes_becomes_text(name: bytes) -> None:
    text = os.fsdecode(name)
    readable(text).encode()
    for limit in (40, 120):
        short = short_name(text, limit)
        assert len(short.encode()) <= limit


def test_what_is_text_already_stays() -> None:
    assert readable("größe 中文.png") == "größe 中文.png"
    assert readable(os.fsdecode(b"caf\xe9")) == "caf\\xe9"
    assert short_name("größe") == "größe"


def test_shortened_names_stay_apart() -> None:
    one, two = "中" * 80 + "a", "中" * 80 + "b"
    assert short_name(one) != short_name(two) and short_name(one).startswith("中" * 30)
    assert short_name(one) == short_name(one)


def calls_of_json(path: Path) -> list[ast.Call]:
    """``json.dumps`` and ``json.dump`` that may write a NaN; one that is read at once may not."""
    tree = ast.parse(path.read_text())
    inner = {
        id(argument)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "json.loads"
        for argument in node.args
    }
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("json.dumps", "json.dump")
        and id(node) not in inner
        and not any(word.arg == "allow_nan" for word in node.keywords)
    ]


@pytest.mark.parametrize("package", ["simulator", "tx", "rx", "channel"])
def test_no_writer_of_json_lets_infinity_through(package: str) -> None:
    lax = {
        str(path.relative_to(ROOT)): call.lineno
        for path in (ROOT / package).rglob("*.py")
        for call in calls_of_json(path)
    }
    assert not lax
