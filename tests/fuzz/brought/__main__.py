"""``python -m tests.fuzz.brought --cases 20000``: what people bring, by the thousand.

Each round of a kind has a seed of its own; a finding names it, and ``--kind K --round N`` repeats
it. ``--state FILE`` keeps what was done: the same command then goes on from there. Ends with 1
where there were findings.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from tests.fuzz.brought.cases import CASES
from tests.fuzz.brought.commands import ENDS, Finding
from tests.fuzz.brought.things import Things


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=CASES, help="one kind only")
    parser.add_argument("--round", type=int, help="one round only, with --kind")
    parser.add_argument("--state", type=Path, help="file to go on from")
    options = parser.parse_args()
    state = read_state(options.state)
    console, findings = Console(), 0
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-") as scratch,
        Progress(console=console) as bar,
    ):
        os.chdir(scratch)
        for kind in [options.kind] if options.kind else list(CASES):
            wanted = 1 if options.round is not None else round(options.cases * CASES[kind][1])
            task = bar.add_task(kind, total=wanted)
            done = state.setdefault(kind, {"rounds": 0, "cases": 0})
            while options.round is not None or done["cases"] < wanted:
                number = done["rounds"] if options.round is None else options.round
                cases = attempt(kind, options.seed, number, Path(scratch), console)
                findings += cases == 0
                done["rounds"] += 1
                done["cases"] += max(cases, 1)
                bar.update(task, completed=done["cases"])
                if options.state:
                    options.state.write_text(json.dumps(state))
                if options.round is not None:
                    break
            ends = ", ".join(f"{name} {code}: {n}" for (name, code), n in sorted(ENDS.items()))
            console.print(f"{kind}: {done['cases']} cases in {done['rounds']} rounds; {ends}")
            ENDS.clear()
    console.print(f"{findings} findings")
    return int(findings > 0)


def read_state(path: Path | None) -> dict[str, dict[str, int]]:
    return json.loads(path.read_text()) if path and path.is_file() else {}


def attempt(kind: str, seed: int, number: int, scratch: Path, console: Console) -> int:
    """How many cases were tried; 0 where something broke, and the console says what."""
    things = Things(seed, list(CASES).index(kind), number)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        try:
            return CASES[kind][0](things, Path(folder))
        except Finding as finding:
            console.print(f"{kind}, --seed {seed} --round {number}: {finding}", markup=False)
            if finding.__cause__ is not None:
                text = "".join(traceback.format_exception(finding.__cause__))
                console.print(text, markup=False)
            return 0


if __name__ == "__main__":
    sys.exit(main())
