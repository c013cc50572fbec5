"""The model card of a trained codec: data, steps, seed, measured results, command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulator.link.text import readable

KINDS = {
    "adaptive": "one set of weights for the bandwidth ratios 1/768 ... 1/48",
    "cnn": "the paper's convolutional codec, for one bandwidth ratio",
    "swin": "SwinJSCC with both modulations, one set of weights for its bandwidth ratios",
}


def folder_name(path: str) -> str:
    """A path says nothing on another machine; a name of other bytes is written out."""
    return readable(Path(path).name)


def named(options: dict[str, Any]) -> dict[str, Any]:
    """Options with folders by their names."""
    folders = {key: [folder_name(p) for p in options[key]] for key in ("data", "validation")}
    return options | folders | {"init": folder_name(options["init"])}


def command(options: dict[str, Any], steps: int) -> str:
    """The command that trains the same weights, from a folder that holds the data."""
    words = ["diffjscc train codec", f"--codec {options['codec']}", f"--steps {steps}"]
    if options["codec"] == "cnn":
        words.append(f"--cbr {options['bandwidth_ratio']}")
    if options.get("start", "linear") != "linear":
        words.append(f"--start {options['start']}")
    words += [f"--channel {options['channel']}", f"--batch {options['batch']}"]
    words += [f"--crop {options['crop']}", f"--learning-rate {options['learning_rate']}"]
    words.append(f"--snr-range {options['snr_db'][0]} {options['snr_db'][1]}")
    for name in ("adversarial", "lpips"):
        if options.get(name):
            words.append(f"--{name} {options[name]:g}")
    if options.get("freeze", "none") != "none":
        words.append(f"--freeze {options['freeze']}")
    words.append(f"--seed {options['seed']}")
    if options.get("init"):
        words.append(f"--init {folder_name(options['init'])}")
    words += [f"--data {folder_name(p)}" for p in options["data"]]
    words += [f"--validation {folder_name(p)}" for p in options["validation"]]
    return " \\\n    ".join([*words, "--out OUT"])


def model_card(training: dict[str, Any]) -> str:
    """Markdown, from the training record of ``codec.json``."""
    options, progress = training["options"], training["progress"]
    crops = progress["step"] * options["batch"]
    low, high = options["snr_db"]
    lines = [
        f"# Codec `{options['codec']}`",
        "",
        f"A joint source-channel codec: {KINDS.get(options['codec'], options['codec'])}. "
        f"Trained for SNR {low:g} to {high:g} dB, channel `{options['channel']}`.",
        "",
        "| | |",
        "|---|---|",
        f"| data | {', '.join(folder_name(p) for p in options['data'])} |",
        f"| steps | {progress['step']} of {options['batch']} crops of {options['crop']} px, "
        f"{crops} crops in all |",
        f"| time | {progress['cpu_s'] / 60:.0f} minutes of CPU, {progress['wall_s'] / 60:.0f} "
        f"minutes in all, on {options['device']} |",
        f"| optimiser | Adam, peak {options['learning_rate']:g}, cosine to zero |",
        f"| seed | {options['seed']} |",
        "",
        "The training photographs are for non-commercial research; none of them is in this "
        "project. Faces, text and fine structure do not survive the low bandwidth ratios.",
        "",
        "```",
        command(options, progress["step"]),
        "```",
    ]
    before = training.get("init")
    while before:
        done = before.get("progress", {})
        lines += [
            "",
            f"These started from weights of {done.get('step', 'unknown')} steps "
            f"({done.get('cpu_s', 0) / 60:.0f} minutes of CPU). {before.get('note', '')}".rstrip(),
        ]
        if before.get("options"):
            lines += ["", "```", command(before["options"], done.get("steps", 0)), "```"]
        before = before.get("init")
    if training["validation"]:
        lines += [
            "",
            "Mean PSNR in dB on images kept out of training",
            "",
            "| ratio | 1 dB | 10 dB |",
        ]
        lines.append("|---|---|---|")
        table = training["validation"]
        for ratio in dict.fromkeys(key.split("@")[0] for key in table):
            cells = [f"{table[f'{ratio}@{snr}dB']:.2f}" for snr in (1, 10)]
            lines.append(f"| {ratio} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
