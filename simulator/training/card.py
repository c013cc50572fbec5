"""The model card of a trained codec: data, steps, seed, measured results, command."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from simulator.link.text import readable
from simulator.training.options import CodecTraining, names_of, said_of

FOLDERS = ("init", "model", "codec", "cache")

KINDS = {
    "adaptive": "one set of weights for the bandwidth ratios 1/768 ... 1/48",
    "adjscc": "ADJSCC, one set of weights for every SNR and one bandwidth ratio",
    "cddm": "a codec whose received symbols are denoised before it decodes them",
    "cnn": "the paper's convolutional codec, for one bandwidth ratio",
    "deepjscc": "DeepJSCC, for one bandwidth ratio",
    "deepjscc-f": "DeepJSCC-f, rounds of symbols with the channel output fed back",
    "deepjscc-l": "layers of symbols, each of which refines the image",
    "feedback-vit": "a transformer whose one encoder sends every round, with feedback",
    "generative": "GenerativeJSCC, a frozen generator inside the decoder",
    "mamba": "MambaJSCC, one set of weights for every SNR and one bandwidth ratio",
    "ntscc": "NTSCC, which gives each part of an image a rate of its own",
    "ofdm-jscc": "a codec behind networks that correct the channel estimate and equaliser of OFDM",
    "padc": "PADC, one set of weights for every SNR and its bandwidth ratios",
    "policy": "a codec that decides by the image how much it sends",
    "sketch": "a codec that sends a text and a sketch of its image beside the symbols",
    "space-time": "a codec behind a network that corrects the streams of two antennas",
    "swin": "SwinJSCC with both modulations, one set of weights for its bandwidth ratios",
    "witt": "WITT, one set of weights for every SNR and one bandwidth ratio",
}


def folder_name(path: str) -> str:
    """A path says nothing on another machine; a name of other bytes is written out."""
    return readable(Path(path).name)


def command(stage: str, options: Any, out: str) -> str:
    """The command that trains the same weights, from a folder that holds the data: what
    differs from the defaults."""
    defaults = {f.name: f.default for f in dataclasses.fields(options)}
    named = names_of_folders(dataclasses.asdict(options))
    words = [f"diffjscc train {stage}"]
    for key, value in named.items():
        name, off = names_of(type(options), key)
        if key in ("data", "validation", "ratios", "config"):
            quoted = shlex.quote if key == "config" else str  # a list has brackets
            words += [f"{name} {quoted(each)}" for each in value]
        elif (
            not said_of(type(options), key)["remade"]
            or value == defaults[key]
            or value == list_of(defaults[key])
        ):
            continue
        elif isinstance(value, bool):
            words.append(name if value else off)
        elif isinstance(value, list | tuple):
            words.append(f"{name} {' '.join(map(str, value))}")
        elif isinstance(value, float):
            words.append(f"{name} {value:g}")
        else:
            words.append(f"{name} {value}")
    return " \\\n    ".join([*words, f"--out {out}"])


def command_of(options: dict[str, Any], steps: int) -> str:
    """The same of a codec's record; options that this version no longer has are left out."""
    known = {each.name for each in dataclasses.fields(CodecTraining)}
    values: dict[str, Any] = {k: v for k, v in options.items() if k in known}
    return command("codec", CodecTraining(**values | {"steps": steps}), "OUT")


def list_of(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def names_of_folders(options: dict[str, Any]) -> dict[str, Any]:
    """Folders and files by their names: a path says nothing on another machine."""
    named = dict(options)
    for key, value in options.items():
        if key in ("data", "validation", "plugins"):
            named[key] = [folder_name(p) for p in value]
        elif key in FOLDERS and value:
            named[key] = folder_name(value)
    return named


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
        command_of(options, progress["step"]),
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
            lines += ["", "```", command_of(before["options"], done.get("steps", 0)), "```"]
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
