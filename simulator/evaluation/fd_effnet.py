"""FD-EffNet of a run folder, from the images it keeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simulator.errors import StorageError
from simulator.images import load_image
from simulator.metrics.effnet import EffNet, load_effnet
from simulator.metrics.fidelity import as_tensor
from simulator.metrics.frechet import Array, frechet_of_features, patch_features
from simulator.report.results import POINT, Row, by_point
from simulator.report.sheet import find_original

STAGES = ("preview", "refined")

#: Values by operating point: ``fd_effnet_preview`` and ``fd_effnet_refined``, where there are any.
Values = dict[tuple[Any, ...], dict[str, float]]
OnProgress = Callable[[int, int], None]


def fd_effnet_of_run(
    folder: Path,
    rows: Sequence[Row],
    on_progress: OnProgress | None = None,
    device: torch.device | str = "cpu",
    network: EffNet | None = None,
) -> Values:
    """FD-EffNet of each operating point (channel, cbr, snr_db), preview and refined.

    Originals of a point count once each, results every time they were sent. A stage is left out
    where the folder keeps no image of it, or no original. Raises ModelError where the network
    cannot be had.
    """
    groups = by_point(rows)
    values: Values = {point: {} for point in groups}
    originals = originals_of(folder, rows)
    work = [
        (point, stage, row["image"], folder / row[f"{stage}_file"])
        for point, group in groups.items()
        for stage in STAGES
        for row in group
        if row["image"] in originals and is_kept(folder, row, stage)
    ]
    if not work:
        return values
    network = network or load_effnet(device)

    def features_of(path: Path) -> Array:
        return patch_features(network, as_tensor(load_image(path).pixels, device))

    sent: dict[str, Array] = {}
    arrived: dict[tuple[tuple[Any, ...], str], list[tuple[str, Array]]] = {}
    for done, (point, stage, image, path) in enumerate(work, 1):
        if image not in sent:
            sent[image] = features_of(originals[image])
        arrived.setdefault((point, stage), []).append((image, features_of(path)))
        if on_progress:
            on_progress(done, len(work))
    for (point, stage), results in arrived.items():
        images = dict.fromkeys(image for image, _ in results)
        values[point][f"fd_effnet_{stage}"] = frechet_of_features(
            np.concatenate([sent[image] for image in images]),
            np.concatenate([features for _, features in results]),
        )
    return values


def originals_of(folder: Path, rows: Iterable[Row]) -> dict[str, Path]:
    """The kept original of each image that has one."""
    found = {}
    for image, row in {row["image"]: row for row in rows}.items():
        if path := find_original(folder, row):
            found[image] = path
    return found


def is_kept(folder: Path, row: Row, stage: str) -> bool:
    name = row.get(f"{stage}_file")
    return bool(name) and (folder / str(name)).is_file()


def add_to_summary(folder: Path, values: Values) -> None:
    """Write the values beside the other figures of each point in ``summary.json``."""
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text())
        for entry in summary["points"]:
            entry.update(values.get(tuple(entry[key] for key in POINT), {}))
        path.write_text(json.dumps(summary, indent=2) + "\n")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} cannot be read and written again ({error}).") from None
