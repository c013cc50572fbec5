"""Standard output: narrow terminals, and readers that go away."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys

import pytest
from rich.table import Table

from simulator.cli.main import sentence_of
from simulator.output import Output


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_no_figure_is_cut(width: int) -> None:
    table = Table()
    for name in ("image", "PSNR preview / refined", "LPIPS preview / refined"):
        table.add_column(name, no_wrap=True)
    table.add_row("a_name_of_20_letters", "20.123 / 20.456", "0.123 / 0.456")
    output = Output(file=io.StringIO(), width=width)
    output.table(table)
    text = output.file.getvalue()
    assert "20.123 / 20.456" in text and "0.123 / 0.456" in text and "…" not in text


def test_a_table_that_needs_more_is_wider() -> None:
    """Counts beside means, and the long name of a folder, which is wrapped instead."""
    table = Table()
    table.add_column("codec", overflow="fold", min_width=12)
    for number in range(8):
        table.add_column(f"metric {number}", no_wrap=True)
    table.add_row("folder/" * 30, *(f"2{number}.26 (20 of 23)" for number in range(8)))
    output = Output(file=io.StringIO(), width=80)
    output.table(table)
    text = output.file.getvalue()
    assert all(f"2{n}.26 (20 of 23)" in text and f"metric {n}" in text for n in range(8))
    assert "…" not in text and max(map(len, text.splitlines())) < 200


def test_a_reader_that_goes_away_is_no_mistake() -> None:
    """As ``diffjscc doctor | head -1``: what is left of the command is done, and it ends well."""
    code = (
        "import sys; from simulator.cli.main import guarded; from simulator.output import Output\n"
        "def command():\n"
        "    output = Output()\n"
        "    for text in ('one', 'two'):\n"
        "        output.print(text)\n"
        "    print('all was done', file=sys.stderr)\n"
        "sys.exit(guarded(command))"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "all was done\n")


def test_nobody_is_asked_to_make_room_on_a_read_only_disk() -> None:
    told = sentence_of(OSError(errno.EROFS, "Read-only file system", "out"))
    assert str(told) == "storage failed at out: Read-only file system; name another path."
