"""Do captions of the received images say what captions of the originals say?

original -captioner-> reference -.
preview  -captioner-> caption   -+- words in common: F1, Jaccard
         (in the row)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from rx.captioner import Captioner, load_captioner
from simulator.errors import SettingsError
from simulator.evaluation.arrays import OnProgress
from simulator.evaluation.kept import Kept
from simulator.evaluation.measured import Found
from simulator.images import load_image
from simulator.link.rows import by_point
from simulator.metrics.captions import f1, jaccard
from simulator.metrics.interval import mean_interval
from simulator.models.folder import find_model
from simulator.runfolder import RUN_FILE
from simulator.settings import make_settings
from simulator.tensors import as_tensor
from tx.source import labels_of

#: The captioner of the run itself.
OWN = "run"


def captioner_for(folder: Path, name: str, device: torch.device | str = "cpu") -> Captioner:
    """By name as ``rx.captioner`` has it, or ``run``: the one that the run was made with.

    Raises SettingsError where the run had none, ModelError where it cannot be loaded.
    """
    if name != OWN:
        return load_captioner(name, device)
    settings = make_settings(folder / RUN_FILE)
    if settings.rx.captioner:
        return load_captioner(settings.rx.captioner, device)
    own = find_model(settings.model, "captioner") / "captioner"
    if not own.is_dir():
        raise SettingsError(
            f"the model {settings.model} of this run has no captioner to ask about the originals; "
            "name one, for example --captions keywords."
        )
    return load_captioner(own, device)


def captions_of_originals(
    kept: Kept,
    captioner: Captioner,
    device: torch.device | str = "cpu",
    on: OnProgress | None = None,
) -> dict[str, str]:
    """By image."""
    captions: dict[str, str] = {}
    labels = labels_of([Path(image) for image in kept.originals])
    for (image, path), label in zip(kept.originals.items(), labels, strict=True):
        pixels = as_tensor(load_image(path).pixels, device)
        (captions[image],) = captioner.caption(pixels[None], [label])
        if on:
            on(len(captions), len(kept.originals))
    return captions


def agreement_of_run(kept: Kept, references: Mapping[str, str]) -> Found:
    """``caption_f1`` and ``caption_jaccard`` of the rows with a caption; they stand with the
    refined images, whose condition the caption is."""
    found: Found = {}
    captioned = any(row.get("caption") for row in kept.rows)  # else nobody was asked
    for point, rows in by_point(kept.rows).items():
        pairs: dict[str, list[tuple[str, str]]] = {}
        for row in rows:
            if captioned and row.get("caption") is not None and row["image"] in references:
                pairs.setdefault(row["image"], []).append(
                    (row["caption"], references[row["image"]])
                )
        for key, agree in (("caption_f1", f1), ("caption_jaccard", jaccard)):
            values = [[agree(*pair) for pair in image] for image in pairs.values()]
            if estimate := mean_interval(values):
                found.setdefault((point, "refined"), {})[key] = estimate
    return found
