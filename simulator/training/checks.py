"""What an option of a training may be, checked before anything is loaded.

A field of an options dataclass is checked by its name: a number against ``RANGES``, a
``Literal`` against its choices. Messages speak of the options of ``diffjscc train``.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from simulator.errors import ModelError, SettingsError, path_from
from simulator.images import find_images
from simulator.training.options import names_of

ANY = math.inf
# Least and greatest value, of each number where there are several.
RANGES: dict[str, tuple[float, float]] = {
    "steps": (0, ANY),
    "minutes": (0, 1e6),
    "batch": (1, ANY),
    "accumulate": (1, ANY),
    "crop": (16, ANY),
    "window": (16, ANY),
    "width": (1, 4096),
    "growth": (1, 4096),
    "blocks": (1, 1000),
    "learning_rate": (0, 1),
    "warmup": (1, ANY),
    "clip_norm": (0, ANY),
    "clip": (0, ANY),
    "ema": (0, 1),
    "weight_decay": (0, 1),
    "seed": (0, 2**31 - 1),  # it is multiplied before it seeds
    "threads": (0, 1024),
    "checkpoint_minutes": (0, ANY),
    "validate_minutes": (0, ANY),
    "snr_db": (-100, 100),
    "snr_scale": (0, 1e4),
    "adversarial": (0, ANY),
    "adversarial_start": (0, 1),
    "drawn": (0, 1),
    "zoom": (0, 1),
    "large": (0, 1),
    "lpips": (0, ANY),
    "kl": (0, ANY),
    "caption_dropout": (0, 1),
    "sketch_dropout": (0, 1),
    "variants": (1, 1000),
    "checked": (0, ANY),
    "samples": (0, 1e7),
    "sampling_steps": (1, 1000),
    "latent_channels": (1, 64),
    "channels": (1, 4096),
    "layers": (1, 16),
    "norm_groups": (1, 4096),
    "head_width": (1, 4096),
    "vocabulary": (300, 65_536),  # 256 bytes and some words
    "text_width": (1, 4096),
    "text_layers": (1, 64),
}
# What may differ when a training goes on.
FREE = ("device", "threads", "checkpoint_minutes", "validate_minutes", "validation", "plugins")


def check_options(options: Any) -> None:
    """Raises ``SettingsError`` for an options dataclass that no training can follow, and
    ``ImageError`` for a validation that has no image."""
    kinds = get_type_hints(type(options))
    for field in fields(options):
        value, kind = getattr(options, field.name), kinds[field.name]
        if get_origin(kind) is Literal and value not in get_args(kind):
            choices = get_args(kind)
            words = f"{', '.join(choices[:-1])} or {choices[-1]}"
            raise SettingsError(f"{names_of(type(options), field.name)[0]} {value}: give {words}.")
        if field.name in RANGES:
            check_range(names_of(type(options), field.name)[0], *RANGES[field.name], value)
    low, high = getattr(options, "snr_db", (0, 0))
    if low > high:
        raise SettingsError(f"--snr-range {low:g} {high:g}: the lower bound comes first.")
    if options.steps == 0 and options.minutes == 0:
        raise SettingsError("say how long to train: --steps N or --minutes M.")
    if options.steps and options.minutes and not hasattr(options, "samples"):
        raise SettingsError("--steps or --minutes: give one of them, not both.")
    if not options.data:
        raise SettingsError("say what to train on: --data FOLDER (may be repeated).")
    find_images([path_from(each) for each in options.validation])  # not first after hours


def check_looped(options: Any) -> None:
    """``check_options`` for the trainings in the latent space. Raises ``SettingsError``."""
    check_options(options)
    if options.crop % 16 or options.crop < 32:
        raise SettingsError(f"--crop {options.crop}: give a multiple of 16 pixels, 32 or more.")


def check_groups(options: Any) -> None:
    """Widths that fall into whole groups of a normalisation; raises ``SettingsError``."""
    groups = options.norm_groups
    for width in options.channels:
        if width % groups:
            raise SettingsError(f"--channels {width}: give multiples of {groups}.")


def check_same(before: dict[str, Any], options: Any, checkpoint: Path) -> None:
    """An interrupted training goes on as it was, ``before``, or not at all; an option that is
    younger than the checkpoint had its default. Raises ``ModelError``."""
    before = json.loads(json.dumps(asdict(type(options)()))) | before
    now = json.loads(json.dumps(asdict(options)))
    changed = [key for key in now if key not in FREE and now[key] != before[key]]
    if changed:
        told = ", ".join(names_of(type(options), key)[0] for key in changed)
        raise ModelError(
            f"{checkpoint} belongs to a training with other settings ({told}); "
            "give the same ones, or another --out, or delete it to start anew."
        )


def check_range(name: str, low: float, high: float, value: Any) -> None:
    for each in value if isinstance(value, tuple) else (value,):
        if not low <= each <= high:  # so that nan is refused, too
            bound = f"{low:g} or more" if high == ANY else f"{low:g} to {high:g}"
            raise SettingsError(f"{name} {each:g}: give {bound}.")
