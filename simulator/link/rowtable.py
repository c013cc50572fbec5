"""Result rows by column, so that many thousand of them fit into memory.

A row as a dictionary takes 5 kB; here a number takes 8 bytes, and a text that occurs often is kept
once. What is read from a table looks like the row that was put in: the same keys and values.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from simulator.link.rows import Row

ABSENT = float("nan")  # in a column of numbers; a row holds no NaN (its JSON could not)
MANY = 1000  # values; of more than that, hardly one of which comes again, none is looked up


class Column:
    """The values of one key. Only None so far: their number. Floats and None: an array of floats.
    Anything else: the place of each among the values that are known."""

    __slots__ = ("_known", "_length", "_numbers", "_places", "_values")

    def __init__(self, length: int = 0) -> None:
        """``length`` times None."""
        self._length = length
        self._numbers: array[float] | None = None
        self._places: array[int] | None = None
        self._values: list[Any] = [None]
        self._known: dict[Any, int] | None = {}

    def append(self, value: Any) -> None:
        if self._numbers is not None and (value is None or type(value) is float):
            self._numbers.append(ABSENT if value is None else value)
        elif self._places is not None:
            self._places.append(self._place(value))
        elif value is not None:
            self._begin(value)
        self._length += 1

    def _begin(self, value: Any) -> None:
        """The first value of another kind than those before it."""
        if self._numbers is None and type(value) is float:
            self._numbers = array("d", [ABSENT]) * self._length
            self._numbers.append(value)
            return
        before = range(self._length) if self._numbers is not None else ()
        places = array("I", [0]) * (0 if before else self._length)
        places.extend(self._place(self[i]) for i in before)
        self._numbers, self._places = None, places
        places.append(self._place(value))

    def _place(self, value: Any) -> int:
        if value is None:
            return 0
        if self._known is not None:
            # By its spelling where that tells more: 0.0 equals -0.0, and a list has no hash.
            same = value if isinstance(value, str | int) else repr(value)
            place = self._known.setdefault((type(value), same), len(self._values))
            if place < len(self._values):
                return place
            if len(self._values) > max(MANY, self._length // 2):
                self._known = None
        self._values.append(value)
        return len(self._values) - 1

    def __getitem__(self, index: int) -> Any:
        if self._numbers is not None:
            number = self._numbers[index]
            return number if number == number else None
        return None if self._places is None else self._values[self._places[index]]


class RowView(Mapping[str, Any]):
    """One row of a table; reads from its columns."""

    __slots__ = ("_columns", "_index")

    def __init__(self, columns: dict[str, Column], index: int) -> None:
        self._columns, self._index = columns, index

    def __getitem__(self, key: str) -> Any:
        return self._columns[key][self._index]

    def get(self, key: str, default: Any = None) -> Any:
        column = self._columns.get(key)
        return default if column is None else column[self._index]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return repr(dict(self))


class RowTable(Sequence[Row]):
    """Rows in the order in which they came. A key that a row lacks is None there.

    A value is None, a bool, a number or a text.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._columns: dict[str, Column] = {}
        self._length = 0
        for row in rows:
            self.append(row)

    def append(self, row: Row) -> None:
        columns = self._columns
        if columns.keys() != row.keys():
            for key in row:
                if key not in columns:
                    columns[key] = Column(self._length)
        for key, column in columns.items():
            column.append(row.get(key))
        self._length += 1

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        found = range(self._length)[index]
        if isinstance(found, range):
            return [RowView(self._columns, i) for i in found]
        return RowView(self._columns, found)

    def __iter__(self) -> Iterator[Row]:
        return (RowView(self._columns, i) for i in range(self._length))
