"""CLIP scores of a run folder: captions against images, and against captions of the originals.

clip_score           the caption against the image of the stage
clip_score_original  against the original: does the caption still tell what was sent? (the
                     paper's ablation of conditions, figure 12)
caption_clip         against the original's caption, text by text
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from simulator.evaluation.arrays import Array, OnProgress, Pixels, arrays_of
from simulator.evaluation.kept import Kept, Result
from simulator.evaluation.measured import Found
from simulator.metrics.clip import Clip
from simulator.metrics.interval import mean_interval

_TEXTS_TOGETHER = 64


def clip_of_run(
    kept: Kept,
    clip: Clip,
    references: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
    on_progress: OnProgress | None = None,
) -> Found:
    """Of rows that have a caption. What is of the caption alone stands with the refined images,
    whose condition it is. ``references``: captions of the originals, by image."""

    def compute(path: Path, pixels: Pixels) -> Array:
        embedding: Array = clip.images([pixels])[0]
        return embedding

    seen = arrays_of(kept.folder, kept.files(), clip.name, compute, device, on_progress)
    said = {result.row["caption"] for result in kept.results if has_caption(result)}
    read = texts_of(clip, sorted(said | set((references or {}).values())))

    def scores(result: Result) -> dict[str, float]:
        text = read[result.row["caption"]]
        found = {"clip_score": float(text @ seen[result.path])}
        if result.stage == "refined":
            found["clip_score_original"] = float(text @ seen[kept.originals[result.image]])
            if references and result.image in references:
                found["caption_clip"] = float(text @ read[references[result.image]])
        return found

    found: Found = {}
    for place, images in kept.groups().items():
        rows = [[scores(r) for r in repeats if has_caption(r)] for repeats in images.values()]
        for key in dict.fromkeys(key for image in rows for row in image for key in row):
            values = [[row[key] for row in image if key in row] for image in rows]
            if estimate := mean_interval(values):
                found.setdefault(place, {})[key] = estimate
    return found


def has_caption(result: Result) -> bool:
    return result.row.get("caption") is not None


def texts_of(clip: Clip, texts: list[str]) -> dict[str, Array]:
    parts = [texts[i : i + _TEXTS_TOGETHER] for i in range(0, len(texts), _TEXTS_TOGETHER)]
    if not parts:
        return {}
    return dict(zip(texts, np.concatenate([clip.texts(part) for part in parts]), strict=True))
