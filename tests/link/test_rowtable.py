"""Rows by column look like the rows that were put in."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from simulator.link import rowtable
from simulator.link.rows import make_row
from simulator.link.rowtable import RowTable

MIXED: list[list[Any]] = [
    [None, None, None],
    [1.5, None, 2.5],
    [None, None, 1.5],
    [1, 1.0, True, None, "1", 0.0, -0.0],
    [1.5, "text", None, 1.5, 2],
    [2.5, None, 3],
    ["a", "b", "a", None],
    [None, "a", "b"],
    [False, 0, 0.0],
    [[1], {"a": 2}, [1], None],
]


@pytest.mark.parametrize("values", MIXED)
def test_what_goes_in_comes_out(values: list[Any]) -> None:
    """Types, too: JSON tells 1 from 1.0 and from true."""
    table = RowTable({"x": value} for value in values)
    assert [repr(row["x"]) for row in table] == [repr(value) for value in values]
    assert len(table) == len(values) and repr(table[-1]["x"]) == repr(values[-1])


def test_values_that_hardly_come_again_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowtable, "MANY", 10)
    values = [f"frame {index % 70}" for index in range(100)]
    assert [row["id"] for row in RowTable({"id": value} for value in values)] == values


def test_keys_keep_their_order_and_may_come_later() -> None:
    table = RowTable([{"b": 1, "a": 2.5}, {"c": "late"}, {"a": 3.5, "b": None}])
    assert [tuple(row) for row in table] == [("b", "a", "c")] * 3
    assert [dict(row) for row in table] == [
        {"b": 1, "a": 2.5, "c": None},
        {"b": None, "a": None, "c": "late"},
        {"b": None, "a": 3.5, "c": None},
    ]
    assert table[0].get("z") is None and table[0].get("z", 7) == 7
    with pytest.raises(KeyError):
        table[0]["z"]
    with pytest.raises(IndexError):
        table[3]
    assert [row["a"] for row in table[1:]] == [None, 3.5]


def test_a_row_takes_a_tenth_of_its_dictionary() -> None:
    def rows(count: int) -> list[str]:
        times = {key: 0.001 for key in make_row() if key.endswith("_s")}
        return [
            json.dumps(make_row(run="r", frame_id=f"{i:032x}", status="delivered", k=i, **times))
            for i in range(count)
        ]

    def taken(texts: list[str], hold: Any) -> int:
        tracemalloc.start()
        kept = hold(map(json.loads, texts))
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(kept) == len(texts)
        return size

    texts = rows(3000)
    assert taken(texts, RowTable) < taken(texts, list) / 8
