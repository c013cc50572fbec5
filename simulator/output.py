"""Standard output of commands: tables that are not cut, and readers that may go away."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.table import Table

WIDTH = 80  # that every table fits into


class Output(Console):
    def table(self, table: Table) -> None:
        """On a terminal of fewer than 80 columns its lines are wrapped, and no figure is cut."""
        own, self.width = self.width, max(self.width, WIDTH)
        self.print(table)
        self.width = own

    def on_broken_pipe(self) -> None:
        """A reader that has gone, such as ``head``, is no mistake: the command ends as it does
        without one."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
