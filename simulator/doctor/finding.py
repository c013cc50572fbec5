"""One line of ``diffjscc doctor``."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape


@dataclass(frozen=True)
class Finding:
    """``ok`` None: works without it, but something is missing."""

    what: str
    ok: bool | None
    text: str


MARKS = {True: "[green]ok[/green]", None: "[yellow]--[/yellow]", False: "[red]!![/red]"}


def tell(finding: Finding, console: Console) -> None:
    mark, what = MARKS[finding.ok], escape(finding.what)
    console.print(f"{mark} {what}: {escape(finding.text)}", soft_wrap=True)
