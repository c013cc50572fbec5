"""A map of small whole numbers as bytes: the rate of each cell, in the side information.

A number is expected to be the mean of its neighbours to the left and above, which both ends know
already; how often each other one comes is counted for each expectation (``range_coder``). There is
no floating point in it: two machines that differ in the last bit of a probability would read
different maps, and with them lose every symbol that follows.
"""

from __future__ import annotations

import numpy as np

from simulator.jscc.range_coder import Counts, DamagedError, Reader, Writer

FIRST = 48  # the count that the expected number starts with, half as much with each step from it


def write_map(numbers: np.ndarray, choices: int) -> bytes:
    """(h, w) of 0 ... ``choices`` - 1 -> bytes, one at least."""
    writer, models, rows = Writer(), _models(choices), numbers.tolist()
    for y, row in enumerate(rows):
        for x, number in enumerate(row):
            writer.put(number, models[_expected(rows, y, x, choices)])
    return writer.done()


def read_map(coded: bytes, shape: tuple[int, int], choices: int) -> np.ndarray:
    """(h, w) int64. Raises ``DamagedError`` for bytes that ``write_map`` does not make; takes a
    time that ``shape`` decides, whatever the bytes are."""
    reader, models = Reader(coded), _models(choices)
    rows: list[list[int]] = []
    for y in range(shape[0]):
        rows.append([])
        for x in range(shape[1]):
            rows[y].append(reader.get(models[_expected(rows, y, x, choices)]))
    numbers = np.array(rows, np.int64).reshape(shape)
    if write_map(numbers, choices) != coded:  # cut off, or something follows
        raise DamagedError("other bytes stand for the same map")
    return numbers


def _models(choices: int) -> list[Counts]:
    """One for each expectation."""
    return [
        Counts([max(1, FIRST >> abs(number - expected)) for number in range(choices)])
        for expected in range(choices)
    ]


def _expected(rows: list[list[int]], y: int, x: int, choices: int) -> int:
    if y and x:
        return (rows[y][x - 1] + rows[y - 1][x] + 1) // 2
    if y or x:
        return rows[y][x - 1] if x else rows[y - 1][x]
    return choices // 2
