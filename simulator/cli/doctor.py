"""``diffjscc doctor``: what works on this machine, or whether a run folder is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.errors import StorageError


def doctor(
    run: Annotated[
        Path | None, typer.Option("--run", help="Look at a run folder instead: is it whole?")
    ] = None,
) -> None:
    """Show what works on this machine.

    It says what to do about what does not work.
    """
    from simulator.doctor.finding import tell
    from simulator.doctor.machine import examine

    if run is None:
        raise typer.Exit(0 if examine() else 9)
    from simulator.doctor.run import examine_run
    from simulator.output import Output

    findings = examine_run(run)
    console = Output()
    for finding in findings:
        tell(finding, console)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(StorageError.exit_code)
