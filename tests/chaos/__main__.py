"""``make soak MINUTES=n``: worlds under fire, one after another; the report is Markdown and JSON.

Ends with 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from tests.chaos.soak import Outcome, attack
from tests.chaos.world import MULTIPATH_AND_MIMO, RAYLEIGH, SUPERPOSED

PROMISES = {
    "missing": "frames without a row",
    "duplicate": "second rows of a frame",
    "strange": "rows of frames that were never to be sent",
    "undelivered": "frames given up",
    "wrong": "rows with other noise or gain than the frame's own",
    "unknown_to_rx": "results that the receiver does not have",
    "unequal": "rows that differ between tx and rx",
    "ended_on_purpose": "processes that gave up",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--frames", type=int, default=1200, help="of a transmitter, in a world")
    parser.add_argument(
        "--pause", type=float, default=0.7, help="mean seconds between faults; inf: none at all"
    )
    parser.add_argument("--transmitters", type=int, default=0, help="0: one to three at random")
    parser.add_argument("--receivers", type=int, default=0, help="0: one to three at random")
    parser.add_argument("--freeze", type=float, default=40, help="longest SIGSTOP in seconds")
    parser.add_argument("--delay", type=float, default=0.01, help="seconds a frame takes at rx")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/soak"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    console, rng = Console(), random.Random(options.seed)
    outcomes: list[Outcome] = []
    until = time.monotonic() + options.minutes * 60
    with Progress(console=console) as bar:
        task = bar.add_task("soak", total=options.minutes * 60)
        # A world is not begun for its first few frames only.
        while until - time.monotonic() > (outcomes[-1].seconds / 2 if outcomes else 0):
            number = len(outcomes)
            scratch = Path(tempfile.mkdtemp(prefix="soak-"))
            air = (RAYLEIGH, MULTIPATH_AND_MIMO, SUPERPOSED)[number % 3]
            two = air is SUPERPOSED
            outcome = attack(
                scratch / "world",
                options.frames,
                2 if two else options.transmitters or rng.randint(1, 3),
                options.receivers or rng.randint(1, 3),
                max(5.0, until - time.monotonic()),
                options.seed + number,
                options.pause,
                options.freeze,
                options.delay,
                lambda world, faults: bar.update(
                    task,
                    completed=options.minutes * 60 - max(0.0, until - time.monotonic()),
                    description=f"world {number + 1}, {faults.kills} kills",  # noqa: B023
                ),
                air=air,
                more=options.frames // 10 if two else 0,
            )
            outcomes.append(outcome)
            with (options.out / "soak.jsonl").open("a") as file:
                file.write(json.dumps({"seed": options.seed + number, **outcome.record()}) + "\n")
            if outcome.verdict.broken or not outcome.finished:
                kept = options.out / f"broken-{options.seed + number}"
                shutil.move(scratch / "world", kept)
                console.print(f"world {number + 1}: {outcome.verdict.broken}; kept in {kept}")
            shutil.rmtree(scratch, ignore_errors=True)
    text = report(outcomes)
    (options.out / "soak.md").write_text(text)
    console.print(text, markup=False)
    return int(any(o.verdict.broken or not o.finished for o in outcomes))


def report(outcomes: list[Outcome]) -> str:
    events: Counter[str] = Counter()
    for outcome in outcomes:
        events.update(outcome.events)
    frames = sum(o.verdict.frames for o in outcomes)
    lines = [
        "# Soak",
        "",
        f"{len(outcomes)} worlds, {sum(o.seconds for o in outcomes) / 60:.0f} minutes, "
        f"{frames} frames, {sum(o.kills for o in outcomes)} kills; "
        f"{sum(o.verdict.computed for o in outcomes) - frames} frames were computed a second time.",
        "",
        "| what must be 0 | found |",
        "|---|---|",
    ]
    for key, words in PROMISES.items():
        lines.append(f"| {words} | {sum(getattr(o.verdict, key) for o in outcomes)} |")
    lines.append(f"| worlds that did not end | {sum(not o.finished for o in outcomes)} |")
    lines += ["", "| what happened | how often |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in sorted(events.items())]
    lines += ["", "| process | highest resident memory, MB | growth in a long life |"]
    lines.append("|---|---|---|")
    for role in ("tx", "channel", "rx"):
        peaks = [
            kb for o in outcomes for name, kb in o.peak_rss_kb.items() if name.startswith(role)
        ]
        grown = [part for o in outcomes for name, part in o.growth.items() if name.startswith(role)]
        told = f"{100 * max(grown):+.1f} %" if grown else "-"
        lines.append(f"| {role} | {max(peaks, default=0) / 1024:.0f} | {told} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
