"""Standard output of commands: tables that are not cut, and readers that may go away."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.table import Table

WIDTH = 80  # that nearly every table fits into
UNBOUNDED = 10_000


class Output(Console):
    def table(self, table: Table) -> None:
        """On a narrower terminal its lines are wrapped, and no figure is cut."""
        own, self.width = self.width, max(self.width, WIDTH, self._least(table))
        self.print(table)
        self.width = own

    def _least(self, table: Table) -> int:
        """The width at which a table is cut nowhere: columns that wrap are as narrow as can be."""
        wide = self.options.update(width=UNBOUNDED)
        spare = 0
        for column in table.columns:
            if not column.no_wrap:
                texts = (column.header, *column.cells)
                sizes = [self.measure(text, options=wide) for text in texts]
                least = column.min_width or max(size.minimum for size in sizes)
                spare += max(0, max(size.maximum for size in sizes) - least)
        return self.measure(table, options=wide).maximum - spare

    def on_broken_pipe(self) -> None:
        """A reader that has gone, such as ``head``, is no mistake: the command ends as it does
        without one."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
