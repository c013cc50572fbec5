"""The training record of a model folder, and its card: data, steps, seed, results, commands."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from simulator.link.text import to_json
from simulator.models.folder import RECORD, SHIPPED, find_model
from simulator.textfile import read_text
from simulator.training.card import command, names_of_folders
from simulator.wholefile import write_whole

CARD = "README.md"
# What a card says of a figure.
FIGURES = {
    "psnr": "PSNR, dB",
    "lpips": "LPIPS",
    "lpips_vgg": "LPIPS-VGG",
    "psnr_preview": "PSNR of the preview, dB",
    "lpips_preview": "LPIPS of the preview",
    "lpips_vgg_preview": "LPIPS-VGG of the preview",
    "validation_loss": "denoising loss",
}


def write_record(
    folder: Path,
    stage: str,
    options: Any,
    progress: dict[str, Any],
    validation: dict[str, float],
    photographs: str = "",
) -> None:
    """Add one training to ``training.json`` of a model folder, and write its card again.

    ``options`` is the frozen dataclass of the stage; ``photographs`` says which part of the data it
    has seen, where that is not all. What people added to the record, ``notes``
    of the whole and ``note`` in place of a training, stays. What the record of the model says
    that the training started from is taken over, and a training that goes on with a network keeps
    how that was made.
    """
    path = folder / RECORD
    started = [path, start_of(getattr(options, "model", "") or str(folder)) / RECORD]
    record: dict[str, Any] = {}
    for each in reversed(started):
        if each.is_file():
            record |= json.loads(read_text(each))
    values = dataclasses.asdict(options)
    # Where a time was given, the command says how many steps it was enough for.
    words = command(stage, dataclasses.replace(options, steps=int(progress["steps"])), "MODEL")
    if not values.get("fresh", True):
        while stage in record and record[stage].get("command") != words:
            stage = f"{stage}, continued"
    record[stage] = {
        "command": words,
        "options": names_of_folders(values),
        "progress": {key: round(value, 3) for key, value in progress.items()},
        "validation": {key: round(value, 4) for key, value in validation.items()},
    }
    if photographs:
        record[stage]["photographs"] = photographs
    write_whole(path, to_json(record, indent=1) + "\n")
    write_whole(folder / CARD, card(record))


def start_of(model: str) -> Path:
    """The folder of a shipped name or a path; a hub id has no record, and is not fetched for it."""
    return find_model(model) if model in SHIPPED else Path(model)


def optimiser_of(options: dict[str, Any]) -> str:
    """Of a record, which may be older than an option."""
    rate, weight_decay = options["learning_rate"], options.get("weight_decay", 0)
    kind = f"AdamW, weight decay {weight_decay:g}" if weight_decay else "Adam"
    way = "constant" if options.get("decay") == "none" else "cosine to zero"
    average = f"moving average {options['ema']:g}" if options["ema"] else "no moving average"
    return f"{kind}, peak {rate:g}, {way}; {average}"


def card(record: dict[str, Any]) -> str:
    """Markdown: one section a training, then the notes."""
    lines = [
        "# Model folder",
        "",
        "A receiver after DiffJSCC (arXiv 2404.17736) in the layout of diffusers, made by the "
        "`diffjscc train` commands below. Its codec has a card of its own.",
    ]
    trainings = {stage: done for stage, done in record.items() if stage != "notes"}
    for stage, done in trainings.items():
        if "note" in done:  # no record of it, only a sentence
            lines += ["", f"## {stage}", "", done["note"]]
            continue
        options, progress = done["options"], done["progress"]
        seen = progress["step"] * options["batch"] * options["accumulate"]
        lines += [
            "",
            f"## {stage}",
            "",
            "| | |",
            "|---|---|",
            f"| data | {', '.join(options['data'])} |",
            *([f"| photographs | {done['photographs']} |"] if "photographs" in done else []),
            f"| steps | {progress['step']} of {options['batch'] * options['accumulate']} crops "
            f"of {options['crop']} px, {seen} crops in all |",
            f"| time | {progress['cpu_s'] / 60:.0f} minutes of CPU, "
            f"{progress['wall_s'] / 60:.0f} minutes in all |",
            f"| optimiser | {optimiser_of(options)} |",
            f"| seed | {options['seed']} |",
        ]
        if done["validation"]:
            kept = ", ".join(options["validation"])
            lines += [
                f"| {FIGURES.get(key, key)}, on {kept} | {value:.3f} |"
                for key, value in done["validation"].items()
            ]
        lines += ["", "```", done["command"], "```"]
    if "notes" in record:
        lines += ["", "## Notes", "", *record["notes"]]
    return "\n".join(lines) + "\n"
