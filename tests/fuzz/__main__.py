"""``make fuzz INPUTS=1000000``: hostile messages by the million. Ends with 1 at a finding.

A finding names its seed: ``--seed N --inputs M`` repeats it.
"""

from __future__ import annotations

import argparse
import resource
import sys
import traceback
from contextlib import closing

from rich.console import Console
from rich.progress import Progress

from tests.fuzz.targets import TARGETS

ROUND = 20_000  # inputs of one seed
FILES_SHARE = 100  # a file takes so many times as long as a message
CHECKED = 50  # inputs between two looks at every counter


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--inputs", type=int, default=1_000_000, help="messages of a target; of files a hundredth"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    console, failed = Console(), False
    with Progress(console=console) as bar:
        for name in TARGETS:
            wanted = options.inputs // (FILES_SHARE if name == "files" else 1)
            task = bar.add_task(name, total=wanted)
            done, seed = 0, options.seed
            while done < wanted:
                inputs = min(ROUND, wanted - done)
                if not attack(name, seed, inputs, console):
                    failed = True
                    break
                done, seed = done + inputs, seed + 1
                bar.update(task, completed=done)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            console.print(f"{name}: {done} inputs, seeds {options.seed} to {seed - 1}, "
                          f"highest resident memory {peak:.0f} MB")  # fmt: skip
    return int(failed)


def attack(name: str, seed: int, inputs: int, console: Console) -> bool:
    """False where something broke; the console says what."""
    with closing(TARGETS[name](seed)) as target:
        for index in range(inputs):
            try:
                target.step()
                if index % CHECKED == 0 or index == inputs - 1:
                    target.check()
            except Exception:
                console.print(f"{name}: seed {seed}, input {index}:", markup=False)
                console.print(traceback.format_exc(), markup=False)
                return False
    return True


if __name__ == "__main__":
    sys.exit(main())
