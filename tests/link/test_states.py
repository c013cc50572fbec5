"""The tables of a frame's states: whole, and as the docs draw them."""

from __future__ import annotations

from pathlib import Path

import pytest

from channel.frames import Entry
from simulator.link.states import AT_CHANNEL, AT_TX, END, Table, diagram
from tx.flight import Flight

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
TABLES = pytest.mark.parametrize("table", [AT_TX, AT_CHANNEL], ids=["tx", "channel"])


def reached(table: Table, start: str) -> set[str]:
    found, todo = set(), [start]
    while todo:
        state = todo.pop()
        if state not in found:
            found.add(state)
            todo += table.get(state, {}).values()
    return found


@TABLES
def test_every_state_is_reached_and_none_is_a_trap(table: Table) -> None:
    assert reached(table, next(iter(table))) == {*table, END}
    assert all(END in reached(table, state) for state in table)


@TABLES
def test_the_docs_draw_it(table: Table) -> None:
    assert f"```mermaid\n{diagram(table)}\n```\n" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(("kind", "table"), [(Flight, AT_TX), (Entry, AT_CHANNEL)])
def test_it_begins_at_the_first_and_refuses_what_cannot_happen(kind: type, table: Table) -> None:
    frame = kind.__new__(kind)
    frame.state = kind.state
    assert frame.table is table and frame.state == next(iter(table))
    with pytest.raises(KeyError):
        frame.take("delivered by hand")
