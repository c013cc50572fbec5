"""``diffjscc doctor``: what works on this machine, or whether a run folder is whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.errors import AddressError, DiffJsccError, StorageError

if TYPE_CHECKING:
    from simulator.doctor.finding import Finding


def doctor(
    run: Annotated[
        Path | None, typer.Option("--run", help="Look at a run folder instead: is it whole?")
    ] = None,
    health: Annotated[
        str | None,
        typer.Option(
            "--health",
            help="Ask the process whose metrics are at this HOST:PORT instead: does it live?",
            metavar="<str>",
        ),
    ] = None,
) -> None:
    """Show what works on this machine.

    It says what to do about what does not work.
    """
    if health is not None:
        from simulator.doctor.health import examine_health

        tell_all(examine_health(health), AddressError)
        return
    from simulator.doctor.machine import examine

    if run is None:
        raise typer.Exit(0 if examine() else 9)
    from simulator.doctor.run import examine_run

    tell_all(examine_run(run), StorageError)


def tell_all(findings: Sequence[Finding], broken: type[DiffJsccError]) -> None:
    """Print them; the exit code of ``broken`` where one of them is."""
    from simulator.doctor.finding import tell
    from simulator.output import Output

    console = Output()
    for finding in findings:
        tell(finding, console)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(broken.exit_code)
